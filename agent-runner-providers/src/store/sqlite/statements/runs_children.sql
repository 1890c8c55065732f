SELECT run.*, request.* FROM request INDEXED BY request_parent
CROSS JOIN run ON run.id = request.run_id AND request.parent_id = $6
