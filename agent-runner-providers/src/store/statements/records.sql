SELECT * FROM record
WHERE collection = $1 AND ($2 IS NULL OR key > $2) AND (expires_at IS NULL OR expires_at > $3)
ORDER BY key LIMIT $4
