-- Rows that AddRecord has put into a chain while it was claimed: what becomes of the chain becomes of them too.
ALTER TABLE ocsd.claim ADD COLUMN added integer[];
