SELECT id FROM run INDEXED BY run_deadline
WHERE finished_at IS NULL AND owner IS NULL AND deadline_at <= $1
ORDER BY id LIMIT $2
