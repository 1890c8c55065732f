-- $1 run, $2 name or null, $3 id to begin after or null, $4 most rows
SELECT artifact.*, (SELECT count(*) FROM artifact AS same WHERE same.run_id = artifact.run_id
    AND same.name = artifact.name
    AND (same.seq < artifact.seq OR (same.seq = artifact.seq AND same.id <= artifact.id))) AS version
FROM artifact
WHERE run_id = $1 AND removed_at IS NULL
    AND ($2 IS NULL OR name = $2)
    AND ($3 IS NULL OR id > $3)
ORDER BY id LIMIT $4
