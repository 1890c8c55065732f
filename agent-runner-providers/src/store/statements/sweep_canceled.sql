SELECT id FROM run
WHERE finished_at IS NULL AND owner IS NULL AND cancel_requested = 1
ORDER BY id LIMIT $1
