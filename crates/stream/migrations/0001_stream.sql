-- The first frame of each shard that is not covered by the rows of this database.
CREATE TABLE offsets (
    stream TEXT NOT NULL,
    shard BIGINT NOT NULL,
    next BIGINT NOT NULL,
    PRIMARY KEY (stream, shard)
);

CREATE TABLE ledger (
    tenant TEXT NOT NULL PRIMARY KEY,
    stored BIGINT NOT NULL,
    dead_lettered BIGINT NOT NULL
);

CREATE TABLE ledger_refused (
    tenant TEXT NOT NULL,
    reason TEXT NOT NULL,
    records BIGINT NOT NULL,
    PRIMARY KEY (tenant, reason)
);

-- seq is the position in the log, so that a replay writes the same row again.
CREATE TABLE events (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    seq BIGINT NOT NULL,
    received_us BIGINT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (tenant, device, seq)
);

CREATE INDEX events_by_age ON events (tenant, received_us);

CREATE TABLE dead_letters (
    tenant TEXT NOT NULL,
    received_us BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    device TEXT NOT NULL,
    topic TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (tenant, received_us, seq)
);
