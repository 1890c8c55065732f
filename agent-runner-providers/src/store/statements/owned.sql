SELECT id, control, next_seq, pause_requested, cancel_requested FROM run WHERE owner = $1 ORDER BY id
