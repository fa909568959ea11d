-- What restarts from: sessions, their queues and the retained messages, as of the positions in the log, or newer.

-- state is an encoded drover.sessions.v1.SessionState.
CREATE TABLE sessions (
    number BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    state BLOB NOT NULL
);

-- body is an encoded drover.sessions.v1.Message, which all queues share.
CREATE TABLE messages (
    number BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    body BLOB NOT NULL
);

-- ids are subscription identifiers, four bytes each, most significant first.
CREATE TABLE queue (
    session BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    message BIGINT NOT NULL,
    qos BIGINT NOT NULL,
    retain BOOLEAN NOT NULL,
    ids BLOB NOT NULL,
    PRIMARY KEY (session, sequence)
) WITHOUT ROWID;

CREATE INDEX queue_by_message ON queue (message);

CREATE TABLE retained (
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant, topic)
);

-- The first frame of each shard that the rows above do not cover.
CREATE TABLE positions (
    stream TEXT NOT NULL,
    shard BIGINT NOT NULL,
    next BIGINT NOT NULL,
    PRIMARY KEY (stream, shard)
);

-- The numbers that the next session and the next message get: none is given twice, even if nothing remembers it.
CREATE TABLE numbers (
    what TEXT NOT NULL PRIMARY KEY,
    next BIGINT NOT NULL
);
