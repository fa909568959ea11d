CREATE TABLE devices (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    profile TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE device_labels (
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (tenant, device, name),
    FOREIGN KEY (tenant, device) REFERENCES devices (tenant, id) ON DELETE CASCADE
);

CREATE INDEX device_labels_by_value ON device_labels (tenant, name, value, device);
