-- Who may call, as whom, and until when. A key itself is nowhere; its hash is on the log.

CREATE TABLE api_keys (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,                -- whoever has it acts as this user
    roles TEXT[] NOT NULL,
    groups TEXT[] NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    created_by TEXT,
    expires_at TIMESTAMPTZ,
    rotated_at TIMESTAMPTZ,
    previous_until TIMESTAMPTZ,           -- the one before may be used until then
    revoked_at TIMESTAMPTZ,
    revoked_by TEXT,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
