-- Runs, their journals and what the queue needs. The rules of a run's life stand here a second
-- time, after core: whatever program writes to this file, history only grows.
-- Moments are microseconds since 1970 UTC, ids are the 16 bytes of a UUID, documents are JSON.

PRAGMA application_id = 1634169461;

-- One row. `gc` is 1 only inside the transaction that deletes a run.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    gc INTEGER NOT NULL CHECK (gc IN (0, 1))
) STRICT;
INSERT INTO meta (one, gc) VALUES (1, 0);

-- What changes of a run. Narrow, because every append writes this row anew.
CREATE TABLE run (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    status TEXT NOT NULL
        CHECK (status IN ('QUEUED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELED')),
    priority INTEGER NOT NULL,
    park_reason TEXT,
    park_wake_at INTEGER,
    park_waiting_on TEXT,
    pause_requested INTEGER NOT NULL CHECK (pause_requested IN (0, 1)),
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    cancel_reason TEXT,
    output TEXT,
    error TEXT,
    usage TEXT NOT NULL,
    deadline_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    recoveries INTEGER NOT NULL CHECK (recoveries >= 0),
    owner BLOB CHECK (owner IS NULL OR length(owner) = 16),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    control INTEGER NOT NULL CHECK (control >= 0),
    next_seq INTEGER NOT NULL CHECK (next_seq >= 1),
    CHECK ((status IN ('COMPLETED', 'FAILED', 'CANCELED')) = (finished_at IS NOT NULL)),
    CHECK (finished_at IS NULL OR owner IS NULL),
    CHECK (park_reason IS NOT NULL OR (park_wake_at IS NULL AND park_waiting_on IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX run_live ON run (id) WHERE finished_at IS NULL;
CREATE INDEX run_owner ON run (owner) WHERE owner IS NOT NULL;
CREATE INDEX run_deadline ON run (deadline_at)
    WHERE deadline_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX run_canceling ON run (id) WHERE cancel_requested = 1 AND finished_at IS NULL;

-- What was asked for. Never changed.
CREATE TABLE request (
    run_id BLOB PRIMARY KEY NOT NULL REFERENCES run (id),
    project_id BLOB NOT NULL CHECK (length(project_id) = 16),
    name TEXT,
    spec TEXT NOT NULL,
    parent_id BLOB CHECK (parent_id IS NULL OR length(parent_id) = 16),
    root_id BLOB NOT NULL CHECK (length(root_id) = 16),
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    idempotency_key TEXT,
    request_hash TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX request_key ON request (project_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX request_parent ON request (parent_id, run_id) WHERE parent_id IS NOT NULL;

-- Runs that wait for a worker. Only inserted and deleted.
CREATE TABLE ready (
    run_id BLOB PRIMARY KEY NOT NULL REFERENCES run (id),
    priority INTEGER NOT NULL,
    runnable_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ready_order ON ready (priority, runnable_at, run_id);

-- Runs that a worker may get, now or at their moment: exactly these are listed in `ready`.
CREATE VIEW claimable AS
SELECT id, priority, park_wake_at FROM run
WHERE finished_at IS NULL AND owner IS NULL AND pause_requested = 0 AND cancel_requested = 0
    AND (park_reason IS NULL OR park_wake_at IS NOT NULL);

CREATE TABLE worker (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    draining INTEGER NOT NULL CHECK (draining IN (0, 1)),
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The journal. `gid` orders the events of all runs by commit and is never used twice.
CREATE TABLE event (
    gid INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id BLOB NOT NULL REFERENCES run (id),
    seq INTEGER NOT NULL CHECK (seq >= 1),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    kind TEXT NOT NULL,
    step TEXT,
    payload TEXT NOT NULL,
    blob TEXT,
    at INTEGER NOT NULL,
    UNIQUE (run_id, seq)
) STRICT;

-- `ord` is the order in which steps were first written.
CREATE TABLE step (
    ord INTEGER PRIMARY KEY,
    run_id BLOB NOT NULL REFERENCES run (id),
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    policy TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN (
        'PENDING', 'STARTED', 'SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELED', 'INDETERMINATE')),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    error TEXT,
    started_seq INTEGER,
    done_seq INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    UNIQUE (run_id, key)
) STRICT;

CREATE TABLE signal (
    run_id BLOB NOT NULL REFERENCES run (id),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

-- Payloads by their hash; a payload goes with the last run that wrote it.
CREATE TABLE blob (
    sha256 TEXT NOT NULL UNIQUE,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE blob_use (
    run_id BLOB NOT NULL REFERENCES run (id),
    sha256 TEXT NOT NULL REFERENCES blob (sha256) DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (run_id, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_use_sha256 ON blob_use (sha256);

CREATE TABLE record (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    expires_at INTEGER,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_expiry ON record (expires_at) WHERE expires_at IS NOT NULL;

CREATE TRIGGER run_only_moves_forward BEFORE UPDATE ON run BEGIN
    SELECT RAISE(ABORT, 'the status of a run never goes back')
    WHERE (OLD.status = 'RUNNING' AND NEW.status = 'QUEUED')
        OR (OLD.finished_at IS NOT NULL AND NEW.status <> OLD.status);
    SELECT RAISE(ABORT, 'a run that ended gets no more events')
    WHERE OLD.finished_at IS NOT NULL AND NEW.next_seq <> OLD.next_seq;
    SELECT RAISE(ABORT, 'next_seq, epoch and control of a run never decrease')
    WHERE NEW.next_seq < OLD.next_seq OR NEW.epoch < OLD.epoch OR NEW.control < OLD.control;
    SELECT RAISE(ABORT, 'a cancellation is never taken back')
    WHERE OLD.cancel_requested = 1 AND NEW.cancel_requested = 0;
END;
CREATE TRIGGER run_is_made_once BEFORE INSERT ON run
WHEN EXISTS (SELECT 1 FROM run WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'a run is made once');
END;
CREATE TRIGGER run_keeps_its_id BEFORE UPDATE OF id ON run WHEN NEW.id <> OLD.id BEGIN
    SELECT RAISE(ABORT, 'the id of a run never changes');
END;
CREATE TRIGGER run_is_kept_until_it_ends BEFORE DELETE ON run
WHEN OLD.finished_at IS NULL OR (SELECT gc FROM meta) = 0 BEGIN
    SELECT RAISE(ABORT, 'only a run that ended is deleted, and with all that belongs to it');
END;
CREATE TRIGGER request_never_changes BEFORE UPDATE ON request BEGIN
    SELECT RAISE(ABORT, 'what was asked for never changes');
END;

CREATE TRIGGER event_never_changes BEFORE UPDATE ON event BEGIN
    SELECT RAISE(ABORT, 'an event never changes');
END;
CREATE TRIGGER event_is_kept BEFORE DELETE ON event WHEN (SELECT gc FROM meta) = 0 BEGIN
    SELECT RAISE(ABORT, 'an event is deleted only with its whole run');
END;
-- INSERT OR REPLACE skips the DELETE triggers, so the INSERT triggers refuse known rows as well.
CREATE TRIGGER event_follows_the_last BEFORE INSERT ON event BEGIN
    SELECT RAISE(ABORT, 'the events of a run are numbered without gaps')
    WHERE NEW.seq <> 1 + (SELECT coalesce(max(seq), 0) FROM event WHERE run_id = NEW.run_id);
    SELECT RAISE(ABORT, 'next_seq of a run counts its events')
    WHERE NEW.seq >= (SELECT next_seq FROM run WHERE id = NEW.run_id);
    SELECT RAISE(ABORT, 'an event never changes')
    WHERE EXISTS (SELECT 1 FROM event WHERE gid = NEW.gid);
END;

CREATE TRIGGER step_only_moves_forward BEFORE UPDATE ON step BEGIN
    SELECT RAISE(ABORT, 'a step that succeeded never changes')
    WHERE OLD.status = 'SUCCEEDED';
    SELECT RAISE(ABORT, 'the status of a step never goes back')
    WHERE (NEW.status = 'PENDING' AND OLD.status <> 'PENDING')
        OR (NEW.status = 'STARTED' AND OLD.status NOT IN ('PENDING', 'STARTED'));
END;
CREATE TRIGGER step_that_succeeded_is_kept BEFORE INSERT ON step
WHEN EXISTS (SELECT 1 FROM step
    WHERE run_id = NEW.run_id AND key = NEW.key AND status = 'SUCCEEDED') BEGIN
    SELECT RAISE(ABORT, 'a step that succeeded never changes');
END;
CREATE TRIGGER step_is_kept BEFORE DELETE ON step WHEN (SELECT gc FROM meta) = 0 BEGIN
    SELECT RAISE(ABORT, 'a step is deleted only with its whole run');
END;

PRAGMA user_version = 1;
