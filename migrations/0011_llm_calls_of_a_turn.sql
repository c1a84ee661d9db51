-- A turn's model call that failed may be made again: each of them is a row. The commit that recorded
-- a call tells them apart.
ALTER TABLE llm_calls DROP CONSTRAINT llm_calls_pkey;
ALTER TABLE llm_calls ADD PRIMARY KEY (tenant, run_id, turn, seq);
