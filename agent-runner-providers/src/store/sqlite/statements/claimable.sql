-- One priority at a time, so that sleepers cost nothing: within a priority the due ones come first.
-- $1 the priority before, $2 now, $3 how many. The first row tells the priority.
SELECT NULL AS id, min(priority) AS priority FROM ready WHERE priority > $1;
SELECT claimable.id AS id, ready.priority AS priority
FROM ready CROSS JOIN claimable ON claimable.id = ready.run_id
WHERE ready.priority = (SELECT min(priority) FROM ready WHERE priority > $1)
    AND ready.runnable_at <= $2
ORDER BY ready.runnable_at, ready.run_id LIMIT $3;
