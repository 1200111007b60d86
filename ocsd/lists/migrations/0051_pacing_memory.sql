-- What the pacing of each campaign group has learnt, so that a restarted daemon does not begin one to one.
CREATE TABLE ocsd.pacing_memory (
    campaign_group_dbid integer PRIMARY KEY,
    state               text NOT NULL,
    saved_at            timestamptz NOT NULL DEFAULT now()
);
