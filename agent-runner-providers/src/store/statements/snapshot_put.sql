INSERT INTO snapshot (run_id, seq, version, state) VALUES ($1, $2, $3, $4)
ON CONFLICT (run_id) DO UPDATE
SET seq = excluded.seq, version = excluded.version, state = excluded.state
