-- $1 hashes
SELECT DISTINCT artifact.sha256 FROM json_each($1) AS wanted
CROSS JOIN artifact ON artifact.sha256 = wanted.value AND artifact.removed_at IS NULL
