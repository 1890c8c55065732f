-- Named outputs of runs. Their bytes are kept elsewhere, under their SHA-256.

CREATE TABLE artifact (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    run_id BLOB NOT NULL REFERENCES run (id),
    seq INTEGER NOT NULL,
    step TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
    uri TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    removed_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_name ON artifact (run_id, name, seq);
CREATE INDEX artifact_bytes ON artifact (sha256) WHERE removed_at IS NULL;

CREATE TRIGGER artifact_never_changes BEFORE UPDATE ON artifact
WHEN OLD.removed_at IS NOT NULL OR NEW.id <> OLD.id OR NEW.run_id <> OLD.run_id
    OR NEW.seq <> OLD.seq OR NEW.step IS NOT OLD.step OR NEW.name <> OLD.name
    OR NEW.kind <> OLD.kind OR NEW.media_type <> OLD.media_type OR NEW.size <> OLD.size
    OR NEW.sha256 <> OLD.sha256 OR NEW.uri <> OLD.uri OR NEW.created_at <> OLD.created_at BEGIN
    SELECT RAISE(ABORT, 'an artifact never changes');
END;
CREATE TRIGGER artifact_is_made_once BEFORE INSERT ON artifact
WHEN EXISTS (SELECT 1 FROM artifact WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'an artifact is made once');
END;
CREATE TRIGGER artifact_is_kept BEFORE DELETE ON artifact WHEN (SELECT gc FROM meta) = 0 BEGIN
    SELECT RAISE(ABORT, 'an artifact is deleted only with its whole run');
END;

PRAGMA user_version = 4;
