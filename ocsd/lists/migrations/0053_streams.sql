-- How each leg of a call sounded, as its packets tell: one row per channel of the media server that heard or sent any.
-- Written after the result, which does not wait for the end of the audio; goes with its attempt.
CREATE TABLE ocsd.stream (
    attempt_id        bigint NOT NULL,
    channel_id        text NOT NULL,
    leg               text NOT NULL,
    ended_at          timestamptz NOT NULL,
    codec             text NOT NULL,
    packets_in        integer NOT NULL,
    packets_out       integer NOT NULL,
    lost              integer NOT NULL,
    late              integer NOT NULL,
    concealed         integer NOT NULL,
    loss_ratio        real NOT NULL,
    jitter_ms         real NOT NULL,
    mos               real,
    rtt_ms            real,
    remote_mos        real,
    remote_loss_ratio real,
    remote_jitter_ms  real,
    PRIMARY KEY (attempt_id, channel_id)
);
CREATE INDEX stream_ended ON ocsd.stream USING brin (ended_at);
COMMENT ON COLUMN ocsd.stream.leg IS 'customer, agent or destination';
COMMENT ON COLUMN ocsd.stream.lost IS 'frames that were not there when they were to be played';
COMMENT ON COLUMN ocsd.stream.late IS 'packets that came after their time; their frames are among the lost ones';
COMMENT ON COLUMN ocsd.stream.concealed IS 'frames of 20 ms that were filled in';
COMMENT ON COLUMN ocsd.stream.mos IS 'of what we heard, 1..4.5 by the E-model (ITU-T G.107); null: nothing was heard';
COMMENT ON COLUMN ocsd.stream.remote_mos IS 'of what the far end heard, by its last RTCP report; null: it sent none';
