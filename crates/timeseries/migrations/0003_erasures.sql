-- What was erased of a device: below a position of the log, one key or, with an empty one, all of them. A row goes when no file has
-- such points any more.
CREATE TABLE erasures (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    key TEXT NOT NULL,
    below BIGINT NOT NULL,
    PRIMARY KEY (tenant, device, key)
);

-- What was erased up to this position of the log left nothing in the part.
ALTER TABLE point_file ADD COLUMN clean_to BIGINT NOT NULL DEFAULT 0;
