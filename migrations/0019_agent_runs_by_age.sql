-- no-transaction
-- Finds the oldest runs for retention. Rows come in the order of the log, so that a few bytes for
-- each stretch of the table will do, and nothing is added to the cost of a write.
CREATE INDEX CONCURRENTLY agent_runs_by_age ON agent_runs USING brin (first_seq) WITH (pages_per_range = 64, autosummarize = on);
