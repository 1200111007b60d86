-- The order of record types that requests have set for a campaign group.
ALTER TABLE ocsd.dialing_session ADD COLUMN dialing_priority jsonb;
