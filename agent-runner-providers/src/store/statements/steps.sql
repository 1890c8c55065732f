SELECT * FROM step WHERE run_id = $1 ORDER BY ord
