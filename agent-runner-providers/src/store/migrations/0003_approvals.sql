-- Calls and questions of agents that wait for a person's word. What is asked and what was answered
-- stand in the journal, under the numbers that are kept here.

CREATE TABLE approval (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    run_id BLOB NOT NULL REFERENCES run (id),
    step TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN (
        'pending', 'approved', 'rejected', 'answered', 'expired', 'withdrawn')),
    requested_seq INTEGER NOT NULL,
    resolved_seq INTEGER,
    requested_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    resolved_at INTEGER,
    CHECK ((status = 'pending') = (resolved_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_run ON approval (run_id);
CREATE INDEX approval_pending ON approval (id) WHERE status = 'pending';

CREATE TRIGGER approval_is_decided_once BEFORE UPDATE ON approval WHEN OLD.status <> 'pending' BEGIN
    SELECT RAISE(ABORT, 'an approval is decided once');
END;
CREATE TRIGGER approval_is_asked_for_once BEFORE INSERT ON approval
WHEN EXISTS (SELECT 1 FROM approval WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'an approval is asked for once');
END;
CREATE TRIGGER approval_is_kept BEFORE DELETE ON approval WHEN (SELECT gc FROM meta) = 0 BEGIN
    SELECT RAISE(ABORT, 'an approval is deleted only with its whole run');
END;
CREATE TRIGGER approval_is_withdrawn_with_its_run AFTER UPDATE OF finished_at ON run
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL BEGIN
    UPDATE approval SET status = 'withdrawn', resolved_at = NEW.finished_at
    WHERE run_id = NEW.id AND status = 'pending';
END;

PRAGMA user_version = 3;
