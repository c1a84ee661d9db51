-- What the content filter found in a model call, and which earlier answer was given again.

ALTER TABLE llm_calls ADD COLUMN findings JSONB;
ALTER TABLE llm_calls ADD COLUMN cached JSONB;
