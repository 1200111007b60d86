-- Numbers that calls were redirected to (SIP 3xx): called, so attempt caps count them.
ALTER TABLE ocsd.attempt ADD COLUMN redirected_to text;
COMMENT ON COLUMN ocsd.attempt.redirected_to IS 'number that the call went on to after a redirect; null: none';
CREATE INDEX attempt_by_redirect ON ocsd.attempt (redirected_to, started_at)
    WHERE redirected_to IS NOT NULL AND counted IS NOT FALSE;
