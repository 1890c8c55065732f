INSERT INTO worker (id, host, pid, draining, started_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    host = excluded.host,
    pid = excluded.pid,
    draining = excluded.draining,
    started_at = excluded.started_at,
    expires_at = excluded.expires_at
