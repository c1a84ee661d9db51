-- no-transaction
-- As agent_runs_by_age.
CREATE INDEX CONCURRENTLY sessions_by_age ON sessions USING brin (first_seq) WITH (pages_per_range = 64, autosummarize = on);
