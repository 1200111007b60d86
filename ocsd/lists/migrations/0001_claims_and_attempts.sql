-- Runs of the daemon, claims on chains, the attempt journal.

CREATE TABLE ocsd.instance (
    owner        text PRIMARY KEY,
    node         text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    stopped_at   timestamptz
);
CREATE INDEX instance_node ON ocsd.instance (node);

-- One row per claimed chain. The key holds the table, not the list: lists may share a table, and whoever inserts the
-- row owns the chain, whatever filter the row was found by.
CREATE TABLE ocsd.claim (
    table_name          text NOT NULL,
    chain_id            integer NOT NULL,
    list_dbid           integer NOT NULL,
    campaign_group_dbid integer NOT NULL,
    owner               text NOT NULL REFERENCES ocsd.instance (owner),
    batch               uuid NOT NULL,
    claimed_at          timestamptz NOT NULL DEFAULT now(),
    lease_until         timestamptz NOT NULL,
    PRIMARY KEY (table_name, chain_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX claim_owner ON ocsd.claim (owner);
COMMENT ON COLUMN ocsd.claim.batch IS 'the claim call that took the chain; undone as a whole when its outcome was lost';

CREATE SEQUENCE ocsd.attempt_id AS bigint;

CREATE TABLE ocsd.attempt (
    attempt_id          bigint PRIMARY KEY,
    guid                text NOT NULL,
    owner               text NOT NULL,
    table_name          text NOT NULL,
    list_dbid           integer NOT NULL,
    record_id           integer NOT NULL,
    chain_id            integer NOT NULL,
    campaign_dbid       integer NOT NULL,
    campaign_group_dbid integer NOT NULL,
    phone               text NOT NULL,
    leg_id              text NOT NULL,
    started_at          timestamptz NOT NULL,
    dialing_at          timestamptz,
    answered_at         timestamptz,
    cpd_completed_at    timestamptz,
    connected_at        timestamptz,
    agent_answered_at   timestamptz,
    agent_released_at   timestamptz,
    released_at         timestamptz,
    acw_completed_at    timestamptz,
    abandoned_at        timestamptz,
    agent_id            text,
    switch_dbid         integer,
    finished_at         timestamptz,
    call_result         smallint,
    record_status       smallint,
    record_type         smallint,
    sip_status          smallint,
    q850_cause          smallint,
    cpa_verdict         text,
    interrupted         boolean,
    counted             boolean,
    evidence            jsonb
);
-- Few rows are open at a time; start-up and the give-back of claims look only at them.
CREATE INDEX attempt_open ON ocsd.attempt (table_name, chain_id) WHERE finished_at IS NULL;
CREATE INDEX attempt_of_record ON ocsd.attempt (table_name, record_id, attempt_id);
CREATE INDEX attempt_started ON ocsd.attempt USING brin (started_at);
