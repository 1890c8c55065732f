INSERT INTO record (collection, key, value, version, expires_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (collection, key) DO UPDATE SET
    value = excluded.value,
    version = excluded.version,
    expires_at = excluded.expires_at,
    updated_at = excluded.updated_at
RETURNING *
