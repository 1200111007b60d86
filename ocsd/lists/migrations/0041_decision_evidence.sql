-- What a decision without a call rests on, e.g. the rule by which pre-dial validation refused the record.
ALTER TABLE ocsd.decision ADD COLUMN evidence jsonb;
