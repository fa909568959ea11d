CREATE TABLE api_keys (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    description TEXT NOT NULL,
    scopes TEXT NOT NULL,
    token_sha256 BLOB NOT NULL UNIQUE,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
