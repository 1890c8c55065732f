-- Housekeeping of a store at rest: records that nobody sees any more, free pages, the WAL.
DELETE FROM record WHERE expires_at <= $1;
PRAGMA incremental_vacuum(1000);
PRAGMA wal_checkpoint(PASSIVE);
