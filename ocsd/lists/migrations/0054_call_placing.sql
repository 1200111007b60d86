-- How a call was placed, known from its beginning on (switch_dbid, the trunk, was only written at its end).
ALTER TABLE ocsd.attempt ADD COLUMN caller_id text;
COMMENT ON COLUMN ocsd.attempt.caller_id IS 'number of a caller ID set that the call showed; null: from elsewhere';
