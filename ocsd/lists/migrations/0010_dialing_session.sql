-- What every campaign group was asked to do, so that a restarted daemon goes on with it.
CREATE TABLE ocsd.dialing_session (
    campaign_group_dbid integer PRIMARY KEY,
    status              smallint NOT NULL,
    dial_mode           smallint NOT NULL,
    optimize_by         smallint NOT NULL,
    optimize_goal       integer NOT NULL,
    auto_completion     boolean NOT NULL,
    updated_at          timestamptz NOT NULL DEFAULT now()
);
