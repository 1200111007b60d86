-- What a desktop has corrected in a record that is still open: acknowledged, so it must survive the daemon.
ALTER TABLE ocsd.attempt ADD COLUMN desktop_result integer, ADD COLUMN desktop_updates jsonb;
