SELECT lower(hex(run.id)) AS offender
FROM run LEFT JOIN (
    SELECT run_id, count(*) AS ends, max(seq) AS last
    FROM event WHERE kind IN ('run.completed', 'run.failed', 'run.canceled')
    GROUP BY run_id) AS ending ON ending.run_id = run.id
WHERE (run.finished_at IS NOT NULL) <> (ending.ends IS NOT NULL)
    OR ending.ends <> 1 OR ending.last <> run.next_seq - 1
LIMIT $1
