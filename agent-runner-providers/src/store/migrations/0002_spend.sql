-- What model calls took, by account and day, and what is reserved for calls in progress. Days are
-- counted from 1970-01-01 UTC; money is in millionths of a US dollar, time in milliseconds.

ALTER TABLE run ADD COLUMN spend TEXT NOT NULL
    DEFAULT '{"requests":0,"tokens":0,"micro_usd":0,"unpriced":0,"busy_ms":0}';

CREATE TABLE spend (
    account TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL CHECK (requests >= 0),
    tokens INTEGER NOT NULL CHECK (tokens >= 0),
    micro_usd INTEGER NOT NULL CHECK (micro_usd >= 0),
    unpriced INTEGER NOT NULL CHECK (unpriced >= 0),
    busy_ms INTEGER NOT NULL CHECK (busy_ms >= 0),
    PRIMARY KEY (account, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX spend_day ON spend (day, account);

-- A reservation has a row for each account on which it counts.
CREATE TABLE reservation (
    run_id BLOB NOT NULL REFERENCES run (id),
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL CHECK (requests >= 0),
    tokens INTEGER NOT NULL CHECK (tokens >= 0),
    micro_usd INTEGER NOT NULL CHECK (micro_usd >= 0),
    unpriced INTEGER NOT NULL CHECK (unpriced >= 0),
    busy_ms INTEGER NOT NULL CHECK (busy_ms >= 0),
    PRIMARY KEY (run_id, id, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX reservation_account ON reservation (account, day);

CREATE TRIGGER spend_only_grows BEFORE UPDATE ON spend
WHEN NEW.requests < OLD.requests OR NEW.tokens < OLD.tokens OR NEW.micro_usd < OLD.micro_usd
    OR NEW.unpriced < OLD.unpriced OR NEW.busy_ms < OLD.busy_ms BEGIN
    SELECT RAISE(ABORT, 'what was spent never becomes less');
END;
CREATE TRIGGER spend_is_kept BEFORE DELETE ON spend BEGIN
    SELECT RAISE(ABORT, 'what was spent is kept');
END;

PRAGMA user_version = 2;
