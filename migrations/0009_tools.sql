-- A tenant's own tools: every version that was ever registered, and whether it can be had.

CREATE TABLE tools (
    tenant TEXT NOT NULL,
    name VARCHAR(64) NOT NULL,
    version VARCHAR(64) NOT NULL,
    digest TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- wasm, javascript, python, mcp, nats
    state TEXT NOT NULL,                  -- active, deprecated, removed
    reason TEXT,                          -- why it was deprecated or removed
    definition JSONB NOT NULL,
    registered_at TIMESTAMPTZ NOT NULL,
    registered_by TEXT,
    changed_at TIMESTAMPTZ NOT NULL,
    changed_by TEXT,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

-- What is in doubt is asked for across runs; there is hardly ever any.
CREATE INDEX tool_calls_in_doubt ON tool_calls (tenant, seq DESC) WHERE status = 'in_doubt';
