-- Reads both tables once; everybody reads and writes meanwhile.
ALTER TABLE audit_logs VALIDATE CONSTRAINT audit_logs_edge;
ALTER TABLE llm_calls VALIDATE CONSTRAINT llm_calls_edge;
