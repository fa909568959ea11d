-- How long a tenant's points are kept: by the name of a key, in which * stands for any text. 0 days are for ever.
CREATE TABLE retention (
    tenant TEXT NOT NULL,
    keys TEXT NOT NULL,
    days BIGINT NOT NULL,
    PRIMARY KEY (tenant, keys)
);
