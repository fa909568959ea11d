-- How much is kept of each tenant: of 'events' and of 'dead_letters'.
CREATE TABLE kept (
    tenant TEXT NOT NULL,
    list TEXT NOT NULL,
    items BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant, list)
);

INSERT INTO kept (tenant, list, items, size_bytes)
    SELECT tenant, 'events', COUNT(*), SUM(octet_length(json)) FROM events GROUP BY tenant;

INSERT INTO kept (tenant, list, items, size_bytes)
    SELECT tenant, 'dead_letters', COUNT(*), SUM(octet_length(payload)) FROM dead_letters GROUP BY tenant;
