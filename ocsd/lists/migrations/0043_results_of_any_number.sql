-- The manual's call results, statuses and types are 32-bit integers, and sites use results of their own. A smallint that
-- cannot hold one would keep the end of its attempt, or a withdrawal, from the disk.
ALTER TABLE ocsd.attempt
    ALTER COLUMN call_result TYPE integer,
    ALTER COLUMN record_status TYPE integer,
    ALTER COLUMN record_type TYPE integer;
ALTER TABLE ocsd.decision
    ALTER COLUMN call_result TYPE integer,
    ALTER COLUMN record_status TYPE integer,
    ALTER COLUMN record_type TYPE integer;
ALTER TABLE ocsd.withdrawal
    ALTER COLUMN call_result TYPE integer,
    ALTER COLUMN record_status TYPE integer,
    ALTER COLUMN record_type TYPE integer;
