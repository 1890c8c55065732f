-- $1 status, $2 run, $3 project, $4 id to begin after, $5 most rows; null for any
SELECT approval.*, request.project_id FROM approval JOIN request ON request.run_id = approval.run_id
WHERE ($1 IS NULL OR approval.status = $1)
    AND ($2 IS NULL OR approval.run_id = $2)
    AND ($3 IS NULL OR request.project_id = $3)
    AND ($4 IS NULL OR approval.id > $4)
ORDER BY approval.id LIMIT $5
