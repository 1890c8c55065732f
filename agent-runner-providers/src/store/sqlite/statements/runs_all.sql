SELECT run.*, request.* FROM run JOIN request ON request.run_id = run.id
