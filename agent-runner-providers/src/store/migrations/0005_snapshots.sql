-- What the first events of a run lead to, so that nobody has to fold them again. Never needed: the
-- journal is the truth, and a snapshot that is missing or damaged is made anew.

CREATE TABLE snapshot (
    run_id BLOB PRIMARY KEY NOT NULL REFERENCES run (id),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    version INTEGER NOT NULL CHECK (version >= 0),
    state BLOB NOT NULL
) STRICT;

PRAGMA user_version = 5;
