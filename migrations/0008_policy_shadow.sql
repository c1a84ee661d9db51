-- Which bundle is asked beside the active one, and how its answers compare.

ALTER TABLE policy_bundles ADD COLUMN in_shadow BOOLEAN NOT NULL DEFAULT false;

CREATE TABLE policy_shadows (
    tenant TEXT NOT NULL,
    bundle TEXT NOT NULL,                 -- digest of the bundle that was in shadow
    decisions BIGINT NOT NULL,            -- it was asked so often
    differences BIGINT NOT NULL,          -- and answered otherwise so often, by kind:
    would_allow BIGINT NOT NULL,
    would_deny BIGINT NOT NULL,
    would_ask BIGINT NOT NULL,
    other_approval BIGINT NOT NULL,
    other_obligations BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    first_at TIMESTAMPTZ NOT NULL,
    last_at TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, bundle)
);
