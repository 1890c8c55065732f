-- $1 account, or null for all projects; $2 day, or null for all; $3 run and $4 id of a reservation
-- that does not count
SELECT
    (SELECT json_array(coalesce(sum(requests), 0), coalesce(sum(tokens), 0),
            coalesce(sum(micro_usd), 0), coalesce(sum(unpriced), 0), coalesce(sum(busy_ms), 0))
        FROM spend
        WHERE (account = $1 OR ($1 IS NULL AND account >= 'project:' AND account < 'project;'))
            AND ($2 IS NULL OR day = $2)) AS booked,
    (SELECT json_array(coalesce(sum(requests), 0), coalesce(sum(tokens), 0),
            coalesce(sum(micro_usd), 0), coalesce(sum(unpriced), 0), coalesce(sum(busy_ms), 0))
        FROM reservation
        WHERE (account = $1 OR ($1 IS NULL AND account >= 'project:' AND account < 'project;'))
            AND ($2 IS NULL OR day = $2)
            AND NOT (run_id = coalesce($3, x'') AND id = coalesce($4, ''))) AS reserved
