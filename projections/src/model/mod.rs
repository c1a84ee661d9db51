//! The read models, a file each: what its rows take from an event (pure, folded by key), and how a
//! batch of rows is written.

pub(crate) mod agent_runs;
pub(crate) mod api_keys;
pub(crate) mod approvals;
pub(crate) mod audit_logs;
pub(crate) mod budget_alerts;
pub(crate) mod budgets;
pub(crate) mod llm_calls;
pub(crate) mod messages;
pub(crate) mod policy_bundles;
pub(crate) mod policy_shadows;
pub(crate) mod reservations;
pub(crate) mod runs_in_flight;
pub(crate) mod sessions;
pub(crate) mod spend;
pub(crate) mod tool_calls;
pub(crate) mod tools;
