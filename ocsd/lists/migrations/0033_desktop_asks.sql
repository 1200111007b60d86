-- A callback or treatment that a desktop has asked for and that is final only when the record is closed.
ALTER TABLE ocsd.attempt ADD COLUMN desktop_asks jsonb;
