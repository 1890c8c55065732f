SELECT id FROM worker WHERE expires_at <= $1 LIMIT 1
