CREATE TABLE tenants (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_us BIGINT NOT NULL
);

CREATE TABLE credentials (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    id TEXT NOT NULL,
    token_sha256 BLOB NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, device, id)
);
