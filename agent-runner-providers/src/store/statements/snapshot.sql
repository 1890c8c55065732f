SELECT seq, version, state FROM snapshot WHERE run_id = $1
