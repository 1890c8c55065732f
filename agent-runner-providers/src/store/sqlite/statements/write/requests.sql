-- $2 the requests of new runs
WITH new AS MATERIALIZED (SELECT value FROM json_each($2))
INSERT INTO request (run_id, project_id, name, spec, parent_id, root_id, tags, metadata,
    idempotency_key, request_hash, created_at)
SELECT unhex(value ->> 'run_id', '-'), unhex(value ->> 'project_id', '-'), value ->> 'name',
    value ->> 'spec', unhex(value ->> 'parent_id', '-'), unhex(value ->> 'root_id', '-'),
    value ->> 'tags', value ->> 'metadata', value ->> 'idempotency_key',
    value ->> 'request_hash', value ->> 'created_at'
FROM new;
