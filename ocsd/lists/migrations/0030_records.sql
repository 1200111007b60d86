-- What became of a chain and why; whom and what an attempt was about, for caps; requests to be delivered.

ALTER TABLE ocsd.attempt
    ADD COLUMN customer_id text,
    ADD COLUMN subject text,
    ADD COLUMN treatment_dbid integer,
    ADD COLUMN because text;
-- Attempt caps count by number or customer; an attempt without an INVITE counts for nothing.
CREATE INDEX attempt_by_phone ON ocsd.attempt (phone, started_at) WHERE counted IS NOT FALSE;
CREATE INDEX attempt_by_customer ON ocsd.attempt (customer_id, started_at)
    WHERE counted IS NOT FALSE AND customer_id IS NOT NULL;

-- Decisions about claimed chains without a call: gates, missed callbacks, records closed on a desktop.
CREATE TABLE ocsd.decision (
    decision_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key             uuid NOT NULL UNIQUE,
    owner           text NOT NULL,
    table_name      text NOT NULL,
    list_dbid       integer NOT NULL,
    record_id       integer NOT NULL,
    chain_id        integer NOT NULL,
    decided_at      timestamptz NOT NULL,
    call_result     smallint,
    record_status   smallint NOT NULL,
    record_type     smallint NOT NULL,
    dial_sched_time integer,
    treatments      text,
    agent_id        text,
    because         text NOT NULL
);
CREATE INDEX decision_of_record ON ocsd.decision (table_name, record_id, decision_id);
CREATE INDEX decision_at ON ocsd.decision USING brin (decided_at);
COMMENT ON COLUMN ocsd.decision.key IS 'given by the daemon: a decision whose commit was in doubt is not made twice';

-- HTTP requests of treatments, delivered at least once. The key tells the receiver which ones are the same.
CREATE TABLE ocsd.outbox (
    item_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key            uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    attempt_id     bigint,
    decision_key   uuid,
    treatment_dbid integer NOT NULL,
    url            text NOT NULL,
    body           jsonb NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    next_try_at    timestamptz NOT NULL DEFAULT now(),
    tries          integer NOT NULL DEFAULT 0,
    last_error     text,
    done_at        timestamptz,
    given_up_at    timestamptz
);
CREATE INDEX outbox_due ON ocsd.outbox (next_try_at, item_id) WHERE done_at IS NULL AND given_up_at IS NULL;
