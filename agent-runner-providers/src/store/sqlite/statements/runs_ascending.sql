WHERE ($1 IS NULL OR run.id > $1)
    AND ($2 IS NULL OR run.status IN (SELECT value FROM json_each($2)))
    AND ($3 IS NULL OR request.project_id = $3)
    AND ($4 IS NULL OR request.spec ->> '$.agent.name' = $4)
    AND ($5 IS NULL OR EXISTS (SELECT 1 FROM json_each(request.tags) WHERE value = $5))
    AND ($6 IS NULL OR request.parent_id = $6)
    AND ($7 IS NULL OR instr(lower(request.spec ->> '$.goal'), $7) > 0
        OR instr(lower(request.name), $7) > 0)
    AND ($8 IS NULL OR request.created_at >= $8)
ORDER BY run.id ASC LIMIT $9
