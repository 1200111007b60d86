-- What call progress analysis cost and whether it was right: the end of the greeting, test calls and what agents said of
-- them, why people were lost; and the recordings of the analysis.
ALTER TABLE ocsd.attempt
    ADD COLUMN speech_end_at timestamptz,
    ADD COLUMN verified boolean,
    ADD COLUMN agent_result integer,
    ADD COLUMN lost_waiting_for text;
COMMENT ON COLUMN ocsd.attempt.verified IS 'a test call (GSW_CALL_RESULT_FEEDBACK): its agent was asked what it was';
COMMENT ON COLUMN ocsd.attempt.agent_result IS 'the call result that a desktop sent, whatever analysis had found';
COMMENT ON COLUMN ocsd.attempt.lost_waiting_for IS 'agent, analysis or wrong verdict; of a call lost after its answer';

CREATE TABLE ocsd.cpd_recording (
    path       text PRIMARY KEY,
    attempt_id bigint NOT NULL,
    began_at   timestamptz NOT NULL,
    duration_s real NOT NULL,
    size_bytes bigint NOT NULL,
    sha256     text NOT NULL,
    gaps       integer NOT NULL,
    error      text NOT NULL
);
CREATE INDEX cpd_recording_of_attempt ON ocsd.cpd_recording (attempt_id);
CREATE INDEX cpd_recording_began ON ocsd.cpd_recording USING brin (began_at);
COMMENT ON COLUMN ocsd.cpd_recording.path IS 'below the recording folder of the media server';
