SELECT * FROM event
WHERE run_id = $1 AND seq > $2
    AND ($3 IS NULL OR kind IN (SELECT value FROM json_each($3)))
    AND ($4 IS NULL OR step = $4)
ORDER BY seq ASC LIMIT $5
