SELECT approval.*, request.project_id FROM approval JOIN request ON request.run_id = approval.run_id
WHERE approval.id = $1
