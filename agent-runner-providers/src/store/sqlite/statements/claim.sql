-- Gives a worker the due runs of the next priority: one priority at a time, so that sleepers cost
-- nothing. Follows guards.sql in numbers: $7 the priority before, $8 now, $9 how many, $10 the worker.
-- Rows of one column are what was taken, those of many what it is; the last one tells the priority
-- and whether there are others behind it. (The + keeps SQLite from planning anew for each number.)
UPDATE run SET owner = $10, epoch = epoch + 1, control = control + 1,
    park_reason = NULL, park_wake_at = NULL, park_waiting_on = NULL
WHERE id IN (
    SELECT claimable.id FROM ready CROSS JOIN claimable ON claimable.id = ready.run_id
    WHERE ready.priority = (SELECT min(priority) FROM ready WHERE priority > +$7)
        AND ready.runnable_at <= +$8
    ORDER BY ready.runnable_at, ready.run_id LIMIT $9)
RETURNING id;
SELECT run.*, request.*
FROM ready CROSS JOIN run ON run.id = ready.run_id CROSS JOIN request ON request.run_id = run.id
WHERE ready.priority = (SELECT min(priority) FROM ready WHERE priority > +$7)
    AND ready.runnable_at <= +$8 AND run.owner = $10
ORDER BY ready.runnable_at, ready.run_id LIMIT $9;
SELECT (SELECT min(priority) FROM ready WHERE priority > +$7) AS priority,
    (SELECT min(priority) FROM ready WHERE priority > +$7)
        < (SELECT max(priority) FROM ready WHERE priority > +$7) AS more;
DELETE FROM ready WHERE run_id IN (
    SELECT ready.run_id FROM ready CROSS JOIN run ON run.id = ready.run_id
    WHERE ready.priority = (SELECT min(priority) FROM ready WHERE priority > +$7)
        AND ready.runnable_at <= +$8 AND run.owner = $10
    ORDER BY ready.runnable_at, ready.run_id LIMIT $9);
