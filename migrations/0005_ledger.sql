-- The ledger with all that it counts: runs in flight, tool calls, who waits in which line; what was
-- spent by whom, with what and when; and what is worth a word. The log is applied again from its
-- beginning, so that the new tables hold the past too; the others refuse what they have passed and
-- stay readable, and whoever asks with `min_seq` waits meanwhile.

ALTER TABLE budgets
    ADD COLUMN limit_tool_calls BIGINT,
    ADD COLUMN limit_runs BIGINT,
    ADD COLUMN reserved_tool_calls BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN reserved_runs BIGINT NOT NULL DEFAULT 0,   -- in flight
    ADD COLUMN spent_tool_calls BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN spent_runs BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN total_tool_calls BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN on_exhausted TEXT NOT NULL DEFAULT 'reject', -- reject, park, downgrade, approve
    ADD COLUMN thresholds JSONB NOT NULL DEFAULT '[80, 95]', -- percent
    ADD COLUMN brought_by UUID,                           -- the run that brought the limits
    ADD COLUMN ended BOOLEAN NOT NULL DEFAULT false;      -- its run has; history once not limited

-- Held now, waiting for budget, or expired and not settled yet.
ALTER TABLE reservations
    ALTER COLUMN run_id DROP NOT NULL,                    -- none: held from outside
    ALTER COLUMN expires_at DROP NOT NULL,                -- none while it waits: nothing is held
    ADD COLUMN call_id TEXT,                              -- the tool call; the model call where absent
    ADD COLUMN model TEXT,
    ADD COLUMN tool_calls BIGINT NOT NULL DEFAULT 0,
    -- Of one that waits: in which line, for what, and its rank there.
    ADD COLUMN waits_for JSONB,                           -- the figures when it began to wait
    ADD COLUMN line TEXT,                                 -- user:ada:day:tokens
    ADD COLUMN line_seq BIGINT,
    ADD COLUMN line_position INTEGER;

-- Runs that the ledger counts in `reserved_runs`, and where.
CREATE TABLE runs_in_flight (
    tenant TEXT NOT NULL,
    run_id UUID NOT NULL,
    scopes JSONB NOT NULL,                -- as in reservations
    since TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

-- What was settled. A run's spending is its own user's and agent's, whoever it works for.
CREATE TABLE spend (
    tenant TEXT NOT NULL,
    day DATE NOT NULL,                    -- in UTC
    user_id VARCHAR(255) NOT NULL,
    agent TEXT NOT NULL,                  -- empty: outside of runs
    model TEXT NOT NULL,                  -- empty: tools, or nobody said
    calls BIGINT NOT NULL,                -- but for tools
    tool_calls BIGINT NOT NULL,
    tokens BIGINT NOT NULL,               -- input and output
    cost_usd_micros BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    overruns BIGINT NOT NULL,             -- calls that spent more than was held
    late BIGINT NOT NULL,                 -- calls that were settled after their reservation expired
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, day, user_id, agent, model)
);

CREATE TABLE budget_alerts (
    tenant TEXT NOT NULL,
    seq BIGINT NOT NULL,
    position INTEGER NOT NULL,            -- the event's place in its commit
    kind TEXT NOT NULL,                   -- threshold, overrun
    created_at TIMESTAMPTZ NOT NULL,
    -- A threshold: of which limit, and how far it is used.
    scope_kind TEXT,
    scope_id TEXT,
    budget_window TEXT,
    unit TEXT,
    percent SMALLINT,
    limit_amount BIGINT,
    spent BIGINT,
    -- An overrun: who spent how much more than was held.
    reservation_id UUID,
    run_id UUID,
    user_id VARCHAR(255),
    agent TEXT,
    model TEXT,
    excess JSONB,
    PRIMARY KEY (tenant, seq, position)
);

ALTER TABLE agent_runs
    ADD COLUMN parent_run_id UUID,        -- the run that it works for
    -- While its status is waiting: for what, by the call that waits (empty: the model call).
    ADD COLUMN waiting_for JSONB;

-- The one table whose rows go away, and with them what they have passed.
DELETE FROM reservations;
-- It has no rows now. A hundred thousand may wait and a few hundred hold: neither is read for the other.
CREATE INDEX reservations_lines ON reservations (tenant, line, line_seq, line_position)
    INCLUDE (id) WHERE status = 'waiting';
CREATE INDEX reservations_held ON reservations (tenant, seq, id) WHERE status = 'held';
UPDATE checkpoints SET seq = 0;
