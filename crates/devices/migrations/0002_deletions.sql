-- Devices that were deleted and whose measurements are not erased yet.
CREATE TABLE deletions (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (tenant, device)
);
