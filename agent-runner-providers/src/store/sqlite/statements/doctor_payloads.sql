SELECT lower(hex(run_id)) || ' event ' || seq AS offender FROM event
WHERE blob IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blob WHERE sha256 = event.blob)
LIMIT $1
