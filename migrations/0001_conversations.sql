-- Rules for every file here. Numbered, forward only, never edited once released. Safe on a live
-- system: add tables and nullable columns (or ones with a constant default); a column is filled by
-- `nexus projections rebuild`, not by an UPDATE of a large table; an index on a table that has rows
-- is made CONCURRENTLY, in a file of its own that begins with `-- no-transaction`.
-- Names are unqualified on purpose: a rebuild runs the same files in a second schema and swaps it in.
--
-- Every key holds the tenant: callers may choose ids, so two tenants may choose the same one. Where
-- rows are updated by id it comes last in the key: see `projections/src/store.rs`.
-- `seq` is the stream sequence that last changed the row.

-- The last sequence that the projection has applied, written in the transaction that applied it.
CREATE TABLE checkpoints (
    name TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
INSERT INTO checkpoints (name, seq, updated_at) VALUES ('read_models', 0, now());

CREATE TABLE sessions (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,
    user_id VARCHAR(255) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,      -- opened, a run joined, closed
    status VARCHAR(50) NOT NULL,          -- active, closed
    budget JSONB NOT NULL,                -- {"tokens": 10000, "time_seconds": 3600, "cost_usd_micros": 500000}; absent: unlimited
    policy_context JSONB,
    metadata JSONB,
    first_seq BIGINT NOT NULL,
    last_run_id UUID,                     -- the run that joined last
    seq BIGINT NOT NULL,
    PRIMARY KEY (id, tenant)
);
CREATE INDEX sessions_newest ON sessions (tenant, first_seq DESC);

CREATE TABLE messages (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,                     -- derived from run, turn and kind
    session_id UUID NOT NULL,
    run_id UUID NOT NULL,
    turn INTEGER,                         -- none for what a person said
    role VARCHAR(50) NOT NULL,            -- user, assistant, system, tool
    content TEXT NOT NULL,                -- empty where metadata.content names an object
    tokens INTEGER NOT NULL,              -- as the provider counted an answer; 0 where nobody counted
    created_at TIMESTAMPTZ NOT NULL,
    metadata JSONB,                       -- tool_calls, call_id, error, content
    position INTEGER NOT NULL,            -- the event's place in its commit
    seq BIGINT NOT NULL,
    PRIMARY KEY (id, tenant)
);
CREATE INDEX messages_of_session ON messages (tenant, session_id, seq, position);
