-- What is searched.  The file is disposable: it is made of the view, of stored files and of the name lists of mirrors.
-- A change here raises SCHEMA_VERSION in database.py.

-- One row.  The documents are complete up to the serial, 0 while they are not.
CREATE TABLE stamp (
    schema_version INTEGER NOT NULL,
    log_id         TEXT NOT NULL,
    serial         INTEGER NOT NULL
);

CREATE TABLE place (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE           -- of an index
);

-- A project of one index, or a page of its documentation; its texts have the same id in "words".
CREATE TABLE document (
    id         INTEGER PRIMARY KEY,
    place      INTEGER NOT NULL,
    project    TEXT NOT NULL,           -- normalised
    path       TEXT NOT NULL,           -- of the page in the documentation; empty for the project itself
    is_own     INTEGER NOT NULL,
    name       TEXT NOT NULL,           -- as it is spelled
    version    TEXT NOT NULL,           -- the newest, or that of the documentation
    digest     BLOB,                    -- of all that was read for a project
    docs       TEXT,                    -- path of the archive whose pages are here
    is_partial INTEGER NOT NULL DEFAULT 0,  -- 1 when files are missing that may come
    UNIQUE (project, place, path)
);
CREATE INDEX document_by_place ON document (place, project);
CREATE INDEX document_partial ON document (id) WHERE is_partial;

CREATE VIRTUAL TABLE words USING fts5 (
    exact, parts, summary, keywords, description, author, author_email, classifiers, title, page, place, type,
    tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);

-- Mirrors whose name lists are here; a number is a bit of "mirrors" below.
CREATE TABLE mirror (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,        -- of the index
    list   TEXT NOT NULL                -- which list it is; empty while it is being read
);

-- The names of all lists.  The upper half of an id is the name's length, so that short names come first in any result.
CREATE TABLE listed (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,       -- normalised
    mirrors INTEGER NOT NULL
);
CREATE VIRTUAL TABLE listed_words USING fts5 (name, content = '', tokenize = 'trigram');

-- One row.  While names are added to "listed" alone, "listed_words" is filled afterwards, in the order of ids.
CREATE TABLE filling (
    is_due  INTEGER NOT NULL,
    last_id INTEGER NOT NULL,           -- up to which it is filled
    next    INTEGER NOT NULL            -- the lower half of the next id
);
INSERT INTO filling VALUES (0, 0, 1);
