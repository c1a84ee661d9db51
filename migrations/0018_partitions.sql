-- Names change and nothing is read: what the partitions hold was checked in 0018, and their indexes
-- are taken over. From here on an index of these two is made on each partition CONCURRENTLY and then
-- attached; columns are added to the parent.

SET LOCAL lock_timeout = '30s';

ALTER TABLE audit_logs RENAME TO audit_logs_first;
ALTER INDEX audit_logs_pkey RENAME TO audit_logs_first_pkey;
ALTER INDEX audit_logs_of_resource RENAME TO audit_logs_first_of_resource;
CREATE TABLE audit_logs (
    LIKE audit_logs_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_edge;
CREATE INDEX audit_logs_of_resource ON audit_logs (tenant, resource_id, id);

ALTER TABLE llm_calls RENAME TO llm_calls_first;
ALTER INDEX llm_calls_pkey RENAME TO llm_calls_first_pkey;
CREATE TABLE llm_calls (
    LIKE llm_calls_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant, run_id, turn, seq)
) PARTITION BY RANGE (seq);
ALTER TABLE llm_calls DROP CONSTRAINT llm_calls_edge;

DO $$
DECLARE
    edge BIGINT := (SELECT to_seq FROM log_partitions WHERE relation = 'llm_calls_first');
    place UUID := (lpad(to_hex(edge), 12, '0') || '80008000000000000000')::uuid;
BEGIN
    EXECUTE format('ALTER TABLE audit_logs ATTACH PARTITION audit_logs_first FOR VALUES FROM (MINVALUE) TO (%L)', place);
    EXECUTE format('ALTER TABLE llm_calls ATTACH PARTITION llm_calls_first FOR VALUES FROM (MINVALUE) TO (%s)', edge);
END
$$;
ALTER TABLE audit_logs_first DROP CONSTRAINT audit_logs_edge;
ALTER TABLE llm_calls_first DROP CONSTRAINT llm_calls_edge;
