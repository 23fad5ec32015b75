-- The view: what folding the changelog gives.  Every table but "freshness" is a function of the entries 1 ... stamp.serial.
-- The file is disposable.  Whoever changes a table, or what the fold writes into it, raises FOLD_VERSION in database.py.

-- One row: which log this was folded from, by which fold, and up to where.  Written in the transaction of the rows it speaks of.
-- As long as there is only a part of a summary, serial is 0, and the rest says which part: changelog/summary_fold.py.
CREATE TABLE stamp (
    log_id       TEXT NOT NULL,
    fold_version INTEGER NOT NULL,
    serial       INTEGER NOT NULL,
    chain        TEXT NOT NULL,
    segment      INTEGER NOT NULL,
    position     INTEGER NOT NULL       -- bytes from the segment's start; "offset" is a word of SQL
);

-- Since when which server is the primary.  Empty during the first epoch.
CREATE TABLE epoch (
    epoch   INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL,
    serial  INTEGER NOT NULL            -- of the entry with which it began
);

CREATE TABLE user (
    name          TEXT PRIMARY KEY,
    config        TEXT NOT NULL,        -- JSON
    password_hash TEXT,                 -- empty for the blank password; NULL for who cannot log in
    created       TEXT NOT NULL,        -- UTC, 2026-11-22T17:12:19Z
    modified      TEXT                  -- the same of the last change
) WITHOUT ROWID;

-- A password for programs.  Its secret half is nowhere.
CREATE TABLE api_token (
    token      TEXT PRIMARY KEY,        -- its public half
    user       TEXT NOT NULL,
    digest     TEXT NOT NULL,           -- SHA-256 of the secret half
    may        TEXT NOT NULL,           -- read,upload
    index_name TEXT,                    -- NULL for all
    project    TEXT,                    -- NULL for all
    expires    TEXT,                    -- UTC; NULL for never
    title      TEXT NOT NULL,
    created    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX api_token_by_user ON api_token (user);

CREATE TABLE package_index (            -- "index" is a word of SQL
    name   TEXT PRIMARY KEY,            -- user/name
    config TEXT NOT NULL                -- JSON
) WITHOUT ROWID;

-- A project of one index.
CREATE TABLE project (
    id         INTEGER PRIMARY KEY,
    index_name TEXT NOT NULL,
    name       TEXT NOT NULL,           -- normalised
    vanished   INTEGER NOT NULL DEFAULT 0,
    header     TEXT,                    -- JSON of the PageHeader; NULL when it says nothing
    UNIQUE (index_name, name)
);

-- The versions a project's page names (PEP 700), those without files included.
CREATE TABLE version (
    project INTEGER NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (project, version)
) WITHOUT ROWID;

-- One row for every path at which a file was ever listed: lock files hold these paths, so no row is deleted while its index exists.  A path ends
-- in the file's name, hence the index by name finds it.  Of all files that had one name in a project, the last one listed is not
-- replaced.  In a project the order of ids is the order of the first listing.
CREATE TABLE file (
    id              INTEGER PRIMARY KEY,
    project         INTEGER NOT NULL,
    filename        TEXT NOT NULL,
    path            TEXT,               -- below the index; NULL when it is made of link_sha256
    gone            INTEGER NOT NULL DEFAULT 0,  -- 1 when the upstream does not list it any more
    replaced        INTEGER NOT NULL DEFAULT 0,  -- its own id when its name is another file's by now: only its path leads to it
    -- the link
    url             TEXT NOT NULL,
    link_sha256     TEXT,
    hashes          TEXT,               -- JSON of all digests; NULL when there is none but SHA-256
    link_size       INTEGER,
    requires_python TEXT,
    upload_time     TEXT,
    yanked,                             -- the reason; 1 for none given; NULL when not yanked
    core_metadata   TEXT,               -- JSON; NULL when the page does not say
    provenance      TEXT,
    extra           TEXT                -- JSON; NULL when there is none
);
CREATE UNIQUE INDEX file_by_name ON file (filename, project, replaced);
CREATE INDEX file_by_project ON file (project);

-- What is here of a file, and what is known of its metadata.
CREATE TABLE kept (
    file             INTEGER PRIMARY KEY,
    sha256           TEXT,              -- of the cached bytes; NULL while they are not here
    size             INTEGER,
    metadata_sha256  TEXT,              -- of the cached core metadata; NULL while it is not here
    metadata_size    INTEGER,
    metadata_missing INTEGER NOT NULL DEFAULT 0
);

-- Private releases.  Their files are rows of "file" and "kept", too; their versions, of "version".
CREATE TABLE release (
    id       INTEGER PRIMARY KEY,
    project  INTEGER NOT NULL,
    version  TEXT NOT NULL,             -- as it was uploaded
    metadata TEXT NOT NULL,             -- JSON
    UNIQUE (project, version)
);

CREATE TABLE uploaded (
    file              INTEGER PRIMARY KEY,
    release           INTEGER NOT NULL,
    log               TEXT NOT NULL,    -- JSON
    provenance_sha256 TEXT,             -- of the provenance object beside the file; NULL without one
    provenance_size   INTEGER
);
CREATE INDEX uploaded_by_release ON uploaded (release);

-- Test results and documentation.
CREATE TABLE attachment (
    id       INTEGER PRIMARY KEY,
    release  INTEGER NOT NULL,
    file     INTEGER,                   -- that was tested; NULL for documentation
    kind     TEXT NOT NULL,             -- toxresult or doczip
    filename TEXT NOT NULL,
    path     TEXT NOT NULL,             -- below the index
    sha256   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    log      TEXT NOT NULL              -- JSON
);
CREATE INDEX attachment_by_release ON attachment (release);
CREATE INDEX attachment_by_file ON attachment (file);
CREATE INDEX attachment_by_path ON attachment (path);

-- Paths that led to something private once.
CREATE TABLE removed (
    index_name TEXT NOT NULL,
    path       TEXT NOT NULL,
    PRIMARY KEY (index_name, path)
) WITHOUT ROWID;

-- The set of advisories that was accepted last: no row or one.
CREATE TABLE advisory_set (
    id       INTEGER PRIMARY KEY,       -- 1
    sha256   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    count    INTEGER NOT NULL,          -- of advisories
    source   TEXT NOT NULL,             -- the feed, without credentials
    modified TEXT NOT NULL,             -- UTC, of the newest advisory
    accepted TEXT NOT NULL              -- UTC, 2026-11-30T17:12:19Z
);

-- When a mirror last heard of a project.  Local to this server and not folded: it goes with the file.
CREATE TABLE freshness (
    index_name    TEXT NOT NULL,
    project       TEXT NOT NULL,
    checked_at    REAL NOT NULL,        -- Unix time, seconds
    etag          TEXT,
    last_modified TEXT,
    missing       INTEGER NOT NULL,
    source        TEXT NOT NULL,        -- of which upstream: its URL without credentials
    PRIMARY KEY (index_name, project)
) WITHOUT ROWID;
