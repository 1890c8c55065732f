SELECT lower(hex(run.id)) AS offender
FROM run LEFT JOIN (
    SELECT run_id, count(*) AS events, min(seq) AS first, max(seq) AS last
    FROM event GROUP BY run_id) AS journal ON journal.run_id = run.id
WHERE coalesce(journal.last, 0) <> run.next_seq - 1
    OR coalesce(journal.events, 0) <> coalesce(journal.last, 0)
    OR journal.first <> 1
LIMIT $1
