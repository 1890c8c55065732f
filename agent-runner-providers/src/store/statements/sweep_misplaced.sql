SELECT id FROM claimable WHERE NOT EXISTS (SELECT 1 FROM ready WHERE run_id = claimable.id)
UNION ALL
SELECT run_id FROM ready WHERE NOT EXISTS (SELECT 1 FROM claimable WHERE id = ready.run_id)
ORDER BY 1 LIMIT $1
