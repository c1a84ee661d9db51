-- What people are asked, and what they answered. The log is applied again from its beginning, so that
-- the table holds the past too; the others refuse what they have passed and stay readable, and
-- whoever asks with `min_seq` waits meanwhile.

CREATE TABLE approvals (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,
    run_id UUID NOT NULL,
    point TEXT NOT NULL,                  -- run.start, llm.call, tool.call
    turn INTEGER NOT NULL,                -- 0: before the first
    call_id TEXT,
    tool_call_id UUID,                    -- of tool_calls
    tool VARCHAR(255),
    arguments JSONB,                      -- absent where they are too long to be asked with
    subject TEXT NOT NULL,                -- digest of the run, the step and its arguments
    bundle VARCHAR(255) NOT NULL,         -- digest of the one that asked
    reasons JSONB NOT NULL,
    requester VARCHAR(255) NOT NULL,      -- may not answer
    roles JSONB NOT NULL,                 -- one of them is needed
    count INTEGER NOT NULL,               -- of people who have to agree
    answers JSONB NOT NULL,               -- [{"user", "answer", "reason", "at"}]
    status VARCHAR(50) NOT NULL,          -- pending, approved, denied, expired, void
    requested_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    escalated_at TIMESTAMPTZ,
    decided_at TIMESTAMPTZ,
    first_seq BIGINT NOT NULL,
    position INTEGER NOT NULL,            -- the event's place in its commit
    seq BIGINT NOT NULL,
    PRIMARY KEY (id, tenant)
);
CREATE INDEX approvals_newest ON approvals (tenant, first_seq DESC, position DESC);
CREATE INDEX approvals_of_run ON approvals (run_id);
CREATE INDEX approvals_by_status ON approvals (tenant, status, first_seq DESC, position DESC);

-- Rows that go away forget what they have passed.
DELETE FROM reservations;
DELETE FROM runs_in_flight;
UPDATE checkpoints SET seq = 0;
