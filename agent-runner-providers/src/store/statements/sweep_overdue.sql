SELECT id FROM run
WHERE finished_at IS NULL AND owner IS NULL AND deadline_at <= $1
ORDER BY id LIMIT $2
