-- What happened to a number: attempts that counted for nothing too, requests, and rows taken out of the lists.
CREATE INDEX attempt_uncounted_by_phone ON ocsd.attempt (phone, started_at) WHERE counted IS FALSE;
CREATE INDEX attempt_uncounted_by_customer ON ocsd.attempt (customer_id, started_at)
    WHERE counted IS FALSE AND customer_id IS NOT NULL;
CREATE INDEX dnc_request_phone ON ocsd.dnc_request (phone) WHERE phone IS NOT NULL;
CREATE INDEX dnc_request_customer ON ocsd.dnc_request (customer_id) WHERE customer_id IS NOT NULL;

-- Rows that a request (cancel, Do-Not-Call) has taken out of a calling list, with the values they got.
CREATE TABLE ocsd.withdrawal (
    withdrawal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name    text NOT NULL,
    list_dbid     integer NOT NULL,
    record_id     integer NOT NULL,
    chain_id      integer NOT NULL,
    phone         text NOT NULL,
    withdrawn_at  timestamptz NOT NULL DEFAULT now(),
    named_by      text NOT NULL,
    all_chain     boolean NOT NULL,
    claimed       boolean NOT NULL,
    call_result   smallint,
    record_status smallint NOT NULL,
    record_type   smallint NOT NULL
);
CREATE INDEX withdrawal_of_record ON ocsd.withdrawal (table_name, record_id, withdrawal_id);
CREATE INDEX withdrawal_by_phone ON ocsd.withdrawal (phone, withdrawn_at);
COMMENT ON COLUMN ocsd.withdrawal.named_by IS 'what the request named: record, phone or customer_id';
COMMENT ON COLUMN ocsd.withdrawal.claimed IS 'a daemon held the chain';
