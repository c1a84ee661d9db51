-- One agent run, the tools it called and the models it called.

CREATE TABLE agent_runs (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,
    session_id UUID NOT NULL,
    previous_run_id UUID,                 -- the run before it in its session
    user_id VARCHAR(255) NOT NULL,
    agent TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    model TEXT NOT NULL,
    tools JSONB NOT NULL,                -- what the model may call
    phase VARCHAR(50) NOT NULL,           -- as status, but for paused
    paused BOOLEAN NOT NULL,
    status VARCHAR(50) NOT NULL           -- pending, running, waiting, paused, completed, failed, cancelled
        GENERATED ALWAYS AS (
            CASE WHEN paused AND phase IN ('pending', 'running', 'waiting') THEN 'paused' ELSE phase END
        ) STORED,
    started_at TIMESTAMPTZ NOT NULL,
    completed_at TIMESTAMPTZ,             -- the end, whichever it was
    tokens BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,              -- of model calls and tools
    cost_usd_micros BIGINT NOT NULL,
    cost JSONB NOT NULL                   -- {"tokens": 1500, "time_ms": 5000, "cost_usd_micros": 1200}
        GENERATED ALWAYS AS (
            ('{"tokens":' || tokens::text || ',"time_ms":' || time_ms::text
             || ',"cost_usd_micros":' || cost_usd_micros::text || '}')::jsonb
        ) STORED,
    turns INTEGER NOT NULL,               -- model calls that were answered
    max_turns INTEGER NOT NULL,
    budget JSONB,                         -- as in sessions; none: unlimited
    input TEXT,                           -- what the person said, or input_ref
    input_ref JSONB,                      -- {"object": "sha256:…", "bytes": 70000}
    output TEXT,                          -- what the model said last, or output_ref
    output_ref JSONB,
    finish TEXT,                          -- why the model stopped: stop, length, tool_calls, content_filter
    error_code TEXT,
    error_message TEXT,                   -- why it failed or was cancelled
    trace_id VARCHAR(255),
    metadata JSONB,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,             -- of the run's own log
    seq BIGINT NOT NULL,
    PRIMARY KEY (id, tenant)
) WITH (fillfactor = 80);                 -- a run is updated at each of its steps
CREATE INDEX agent_runs_newest ON agent_runs (tenant, first_seq DESC);
CREATE INDEX agent_runs_of_session ON agent_runs (tenant, session_id, first_seq DESC);

CREATE TABLE tool_calls (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,                     -- derived from run, turn and call
    run_id UUID NOT NULL,
    turn INTEGER NOT NULL,
    call_id TEXT NOT NULL,                -- the model's name for it
    tool_name VARCHAR(255) NOT NULL,
    tool_version VARCHAR(50) NOT NULL,    -- empty until it is started
    input JSONB NOT NULL,
    output JSONB,                         -- absent where metadata.output names an object
    latency_ms INTEGER,
    attempts INTEGER NOT NULL,
    status VARCHAR(50) NOT NULL,          -- pending, running, completed, failed, denied, abandoned
    error_code TEXT,
    error_message TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    completed_at TIMESTAMPTZ,
    metadata JSONB,
    position INTEGER NOT NULL,            -- the call's place in its turn
    seq BIGINT NOT NULL,
    PRIMARY KEY (id, tenant)
);
CREATE INDEX tool_calls_of_run ON tool_calls (tenant, run_id, turn, position);

CREATE TABLE llm_calls (
    tenant TEXT NOT NULL,
    run_id UUID NOT NULL,
    turn INTEGER NOT NULL,
    status VARCHAR(50) NOT NULL,          -- completed, failed, aborted
    provider TEXT,
    model TEXT,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    estimated BOOLEAN NOT NULL,           -- the provider did not report usage: bounds from above
    cost_usd_micros BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    time_to_first_token_ms BIGINT,
    attempts INTEGER,
    finish TEXT,
    response_id TEXT,
    route TEXT,                           -- why this provider and model
    error_code TEXT,
    error_message TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, run_id, turn)
);
