-- Who did what, when, to what, and why it was allowed; and the policies that allowed it.

CREATE TABLE audit_logs (
    tenant TEXT NOT NULL,
    id UUID NOT NULL,                     -- holds sequence and position, so that it sorts as the log does
    user_id VARCHAR(255) NOT NULL,
    action VARCHAR(255) NOT NULL,
    resource_type VARCHAR(100) NOT NULL,
    resource_id VARCHAR(255),
    details JSONB,
    ip_address INET,
    user_agent TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX audit_logs_of_resource ON audit_logs (tenant, resource_id, id);

CREATE TABLE policy_bundles (
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,                 -- sha256:<hex>, or builtin
    active BOOLEAN NOT NULL,
    published_at TIMESTAMPTZ,             -- none for builtin
    published_by VARCHAR(255),
    activated_at TIMESTAMPTZ,
    activated_by VARCHAR(255),
    modules JSONB NOT NULL,               -- {"path.rego": "text" or {"object", "bytes"}}
    data JSONB NOT NULL,                  -- likewise: JSON text, or where it is
    seq BIGINT NOT NULL,
    PRIMARY KEY (tenant, digest)
);
