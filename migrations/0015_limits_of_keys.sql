-- Requests that may be made with a key in a minute. Keys that were projected before have none here until
-- the read models are rebuilt; what holds is on the log.

ALTER TABLE api_keys ADD COLUMN requests_per_minute INT8;
