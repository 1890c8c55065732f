SELECT id FROM run INDEXED BY run_owner
WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM worker WHERE expires_at > $1)
ORDER BY id LIMIT $2
