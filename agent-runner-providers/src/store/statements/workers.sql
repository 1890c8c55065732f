SELECT worker.*, (SELECT count(*) FROM run WHERE run.owner = worker.id) AS runs
FROM worker ORDER BY id
