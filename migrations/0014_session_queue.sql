-- Runs that wait for their turn in their session, and runs whose place another took.

ALTER TABLE agent_runs
    ADD COLUMN queue_seq BIGINT,          -- of a run that had to wait: who has a lower one goes before
    ADD COLUMN rolled_back BOOLEAN NOT NULL DEFAULT false;
