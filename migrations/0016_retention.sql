-- Retention. `audit_logs` and `llm_calls` are only ever appended to, and become tables of partitions by
-- stretches of the log, so that what is old is dropped whole. The tables that are there become the
-- first partitions, without being rewritten or read under a lock, in three steps: here it is said
-- where they end (beyond all that they hold), 0018 checks that while everybody reads and writes, and
-- 0019 takes the moment that it needs to swap names.

-- Stretches of the log that have a partition of their own.
CREATE TABLE log_partitions (
    parent TEXT NOT NULL,
    relation TEXT NOT NULL,
    from_seq BIGINT NOT NULL,
    to_seq BIGINT NOT NULL,               -- not itself
    PRIMARY KEY (parent, from_seq)
);

-- Rows of before these sequences are gone; see docs/retention.md for which.
CREATE TABLE retention (
    name TEXT PRIMARY KEY,                -- runs, calls, audit
    seq BIGINT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- How far each tenant's chain has been archived.
CREATE TABLE audit_archives (
    tenant TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    position INTEGER NOT NULL,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32),
    archived_at TIMESTAMPTZ NOT NULL
);

-- The last entry of each tenant's chain that is not in the table any more.
CREATE TABLE audit_anchors (
    tenant TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    position INTEGER NOT NULL,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32)
);

DO $$
DECLARE
    edge BIGINT := ((SELECT max(seq) FROM checkpoints) / 4194304 + 2) * 4194304;
    place UUID := (lpad(to_hex(edge), 12, '0') || '80008000000000000000')::uuid;
BEGIN
    INSERT INTO log_partitions VALUES
        ('audit_logs', 'audit_logs_first', 0, edge), ('llm_calls', 'llm_calls_first', 0, edge);
    EXECUTE format('ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_edge CHECK (id < %L) NOT VALID', place);
    EXECUTE format('ALTER TABLE llm_calls ADD CONSTRAINT llm_calls_edge CHECK (seq < %s) NOT VALID', edge);
END
$$;
