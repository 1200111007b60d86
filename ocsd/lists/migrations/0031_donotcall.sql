-- The operator's Do-Not-Call table, with the columns of the manual's Table Access of that name. It may be there already,
-- filled by other systems; then it stays as it is.
CREATE TABLE IF NOT EXISTS public.gsw_donotcall_list (
    phone         varchar(64),
    customer_id   varchar(64),
    dnc_message   varchar(255),
    tenant_dbid   decimal(18,0),
    campaign_dbid decimal(18,0),
    list_dbid     decimal(18,0),
    is_internal   integer,
    time_stamp    integer,
    expires_at    integer
);

-- Every request and how long it took: received, in force in memory, on disk, known to buffers, lists and desktops.
CREATE TABLE ocsd.dnc_request (
    request_id    uuid PRIMARY KEY,
    txid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tenant_dbid   bigint,
    phone         text,
    customer_id   text,
    dnc_message   text,
    campaign_dbid bigint,
    list_dbid     bigint,
    expires_at    integer,
    requested_at  timestamptz NOT NULL,
    in_force_at   timestamptz NOT NULL,
    durable_at    timestamptz NOT NULL,
    applied_at    timestamptz,
    rows          integer
);
CREATE INDEX dnc_request_txid ON ocsd.dnc_request (txid);
COMMENT ON COLUMN ocsd.dnc_request.request_id IS 'derived from the request, so that writing it again changes nothing';
COMMENT ON COLUMN ocsd.dnc_request.txid IS 'other daemons look for requests that their last snapshot did not show';
COMMENT ON COLUMN ocsd.dnc_request.expires_at IS 'Unix seconds, as in gsw_donotcall_list';
COMMENT ON COLUMN ocsd.dnc_request.rows IS 'records of calling lists that became NoCall';

-- Raised by whoever changes Do-Not-Call otherwise than by a request: running daemons then read everything again.
CREATE TABLE ocsd.dnc_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO ocsd.dnc_version (version) VALUES (1);
