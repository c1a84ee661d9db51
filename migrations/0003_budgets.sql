-- The ledger's accounts as they stand, and what is held now.

CREATE TABLE budgets (
    tenant TEXT NOT NULL,
    scope_kind TEXT NOT NULL,             -- tenant, user, agent, session, run
    scope_id TEXT NOT NULL,               -- empty for the tenant
    budget_window TEXT NOT NULL,          -- lifetime, hour, day, month
    limited BOOLEAN NOT NULL,             -- false: nobody set limits, the row only counts
    limit_tokens BIGINT,                  -- absent: unlimited
    limit_cost_usd_micros BIGINT,
    limit_time_ms BIGINT,
    reserved_tokens BIGINT NOT NULL,
    reserved_cost_usd_micros BIGINT NOT NULL,
    reserved_time_ms BIGINT NOT NULL,
    spent_tokens BIGINT NOT NULL,         -- in window_number, since the limits were set
    spent_cost_usd_micros BIGINT NOT NULL,
    spent_time_ms BIGINT NOT NULL,
    window_number BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,         -- ever, while the row exists
    total_cost_usd_micros BIGINT NOT NULL,
    total_time_ms BIGINT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, scope_kind, scope_id, budget_window)
) WITH (fillfactor = 70);                 -- a hot account is updated in every batch
-- Every session has a row that only counts; the list shows those with limits.
CREATE INDEX budgets_limited ON budgets (tenant, scope_kind, scope_id, budget_window) WHERE limited;

-- Held now, or expired and not settled yet. A settled reservation has no row.
CREATE TABLE reservations (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,
    run_id UUID NOT NULL,
    turn INTEGER NOT NULL,
    status TEXT NOT NULL,                 -- held, expired
    scopes JSONB NOT NULL,                -- [{"kind": "tenant"}, {"kind": "user", "id": "ada"}]
    tokens BIGINT NOT NULL,
    cost_usd_micros BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    max_output_tokens BIGINT NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
