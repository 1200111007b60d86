-- People who answered and those who got no agent, per campaign and quarter of an hour: what a legal abandonment window
-- is counted by. A row grows in the very transaction that ends an attempt, so no person is lost or counted twice. Each
-- node has rows of its own: no two daemons wait for each other. Kept for ever: it names nobody, is at most 96 rows a day,
-- and whoever must prove an abandonment rate is asked for years of it.
CREATE TABLE ocsd.abandonment (
    campaign_dbid integer NOT NULL,
    bucket_at     timestamptz NOT NULL,
    node          text NOT NULL,
    people        integer NOT NULL,
    abandoned     integer NOT NULL,
    late          integer NOT NULL,
    PRIMARY KEY (campaign_dbid, bucket_at, node),
    CHECK (0 <= abandoned AND 0 <= late AND abandoned + late <= people)
) WITH (fillfactor = 50);
COMMENT ON COLUMN ocsd.abandonment.bucket_at IS 'beginning of the quarter of an hour in which the greetings ended';
COMMENT ON COLUMN ocsd.abandonment.abandoned IS 'people to whom no agent came, or who hung up while they waited';
COMMENT ON COLUMN ocsd.abandonment.late IS 'people whose agent came later than two seconds after the greeting';

-- What was dialed before this version, as far as the journal tells: the window does not begin anew with an update.
INSERT INTO ocsd.abandonment (campaign_dbid, bucket_at, node, people, abandoned, late)
SELECT a.campaign_dbid,
       date_bin('15 minutes', coalesce(a.abandoned_at, a.agent_answered_at), timestamptz '1970-01-01 00:00:00+00'),
       coalesce(i.node, a.owner), count(*), count(a.abandoned_at), 0
FROM ocsd.attempt AS a LEFT JOIN ocsd.instance AS i ON i.owner = a.owner
WHERE a.finished_at IS NOT NULL AND coalesce(a.abandoned_at, a.agent_answered_at) IS NOT NULL
GROUP BY 1, 2, 3;
