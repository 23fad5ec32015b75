-- Statistics of one server; disposable.  Periods are days (2026-11-29), months (2026-11), or '' for all time before those.

CREATE TABLE about (
    ledger TEXT NOT NULL,                    -- 32 hexadecimal digits that differ from those of every other such file
    sequence INTEGER NOT NULL                -- of the last batch that was made for the primary
);

CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    index_name TEXT NOT NULL,
    project TEXT NOT NULL,
    version TEXT NOT NULL,                   -- as in the file name; empty when it has none
    filename TEXT NOT NULL,
    UNIQUE (index_name, project, filename)
);

CREATE TABLE agents (
    id INTEGER PRIMARY KEY,
    installer TEXT NOT NULL,
    version TEXT NOT NULL,
    python TEXT NOT NULL,
    UNIQUE (installer, version, python)
);

CREATE TABLE downloads (
    file INTEGER NOT NULL,
    period TEXT NOT NULL,
    agent INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (file, period, agent)
) WITHOUT ROWID;
CREATE INDEX downloads_by_period ON downloads (period);

-- On a replica: what the primary was not told yet, and the batch that it is being told.
CREATE TABLE unsent (
    period TEXT NOT NULL,
    file INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (period, file, agent)
) WITHOUT ROWID;
CREATE TABLE batch (
    sequence INTEGER NOT NULL,
    content TEXT NOT NULL
);

-- On a server with followers: the last batch of each that was counted.
CREATE TABLE senders (
    sender TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL                      -- Unix seconds
) WITHOUT ROWID;

CREATE TABLE points (
    length INTEGER NOT NULL,                 -- seconds that a point stands for: 60 or 3600
    at INTEGER NOT NULL,                     -- Unix seconds of its beginning
    figures TEXT NOT NULL,                   -- a JSON object: values by name
    PRIMARY KEY (length, at)
) WITHOUT ROWID;
