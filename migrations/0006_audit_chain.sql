-- Each tenant's entries are a chain of hashes (docs/audit.md). Entries that were written before have
-- no place in one: the log is applied again from its beginning, and gives all of them anew. The other
-- tables refuse what they have passed and stay readable; whoever asks with `min_seq` waits meanwhile.

TRUNCATE audit_logs;
ALTER TABLE audit_logs
    ADD COLUMN number BIGINT NOT NULL,                                    -- of the tenant's entries, from 1
    ADD COLUMN reason TEXT,                                               -- why, in a sentence
    ADD COLUMN prev_hash BYTEA NOT NULL CHECK (octet_length(prev_hash) = 32),
    ADD COLUMN hash BYTEA NOT NULL CHECK (octet_length(hash) = 32),
    -- What is hashed has no finer time and no network's mask: neither may be put there unnoticed.
    ADD CHECK (created_at = date_trunc('milliseconds', created_at)),
    ADD CHECK (ip_address = host(ip_address)::inet);

-- The last entry of each tenant's chain.
CREATE TABLE audit_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    position INTEGER NOT NULL,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32)
);

-- The one table whose rows go away, and with them what they have passed.
DELETE FROM reservations;
UPDATE checkpoints SET seq = 0;
