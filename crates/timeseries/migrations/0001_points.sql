-- One row for each file and tenant: which row groups of the file are the tenant's, and what they span.
CREATE TABLE point_file (
    file TEXT NOT NULL,
    tenant TEXT NOT NULL,
    shard BIGINT NOT NULL,
    first_row_group BIGINT NOT NULL,
    row_groups BIGINT NOT NULL,
    min_ts BIGINT NOT NULL,
    max_ts BIGINT NOT NULL,
    min_device TEXT NOT NULL,
    max_device TEXT NOT NULL,
    points BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (file, tenant)
);

-- The newest sample of every key of a device, encoded (see latest.rs).
CREATE TABLE latest_samples (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    samples BLOB NOT NULL,
    PRIMARY KEY (tenant, device)
);
