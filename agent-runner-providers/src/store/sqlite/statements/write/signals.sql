-- $6 signals
INSERT INTO signal (run_id, id, name, seq)
SELECT unhex(value ->> 0, '-'), value ->> 1, value ->> 2, value ->> 3 FROM json_each($6);
