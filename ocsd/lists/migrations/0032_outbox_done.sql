-- The daily upkeep finds delivered items by it.
CREATE INDEX outbox_done ON ocsd.outbox (done_at) WHERE done_at IS NOT NULL;
