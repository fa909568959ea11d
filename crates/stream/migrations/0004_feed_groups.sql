-- Where groups of readers of the feed go on: the last cursor that they acknowledged, or were set to.
CREATE TABLE feed_groups (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    cursor TEXT NOT NULL,
    moved_us BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
