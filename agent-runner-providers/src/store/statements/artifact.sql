SELECT artifact.*, (SELECT count(*) FROM artifact AS same WHERE same.run_id = artifact.run_id
    AND same.name = artifact.name
    AND (same.seq < artifact.seq OR (same.seq = artifact.seq AND same.id <= artifact.id))) AS version
FROM artifact
WHERE id = $1 AND removed_at IS NULL
