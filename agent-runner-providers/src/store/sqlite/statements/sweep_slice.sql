-- $1 the run after which it begins or null, $2 how many runs: the last of them, unless there are fewer
SELECT id FROM run INDEXED BY run_live
WHERE finished_at IS NULL AND id > coalesce($1, x'')
ORDER BY id LIMIT 1 OFFSET $2 - 1
