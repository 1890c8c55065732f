DELETE FROM reservation WHERE run_id = $1 AND id = $2
