SELECT id FROM run INDEXED BY run_canceling
WHERE finished_at IS NULL AND owner IS NULL AND cancel_requested = 1
ORDER BY id LIMIT $1
