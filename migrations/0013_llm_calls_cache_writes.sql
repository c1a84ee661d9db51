-- Tokens of a prompt that the provider wrote into its cache, which some bill dearer than others. Calls
-- that were projected before have none here until the read models are rebuilt.

ALTER TABLE llm_calls ADD COLUMN cache_write_tokens INT8 NOT NULL DEFAULT 0;
