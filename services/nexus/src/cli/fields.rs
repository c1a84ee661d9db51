//! What the tables and sheets show, resource by resource, in one visible list.

use super::view::Field;
use super::view::Kind::{Count, Flag, Millis, Moment, Status, Text, Usd};

const ID: usize = 36;

/// `runs list`.
pub(crate) const RUNS: &[Field] = &[
    Field::new("RUN", "/id", Text(ID)),
    Field::new("STATUS", "/status", Status),
    Field::new("STARTED", "/started_at", Moment),
    Field::new("TURNS", "/turns", Count),
    Field::new("TOKENS", "/cost/tokens", Count),
    Field::new("COST", "/cost/cost_usd_micros", Usd),
    Field::new("MODEL", "/model", Text(24)),
    Field::new("INPUT", "/input", Text(40)),
];

/// `runs show`.
pub(crate) const RUN: &[Field] = &[
    Field::new("run", "/id", Text(ID)),
    Field::new("status", "/status", Status),
    Field::new("session", "/session_id", Text(ID)),
    Field::new("previous run", "/previous_run_id", Text(ID)),
    Field::new("user", "/user_id", Text(80)),
    Field::new("agent", "/agent", Text(80)),
    Field::new("agent version", "/agent_version", Text(80)),
    Field::new("model", "/model", Text(80)),
    Field::new("tools", "/tools", Text(200)),
    Field::new("started", "/started_at", Moment),
    Field::new("ended", "/completed_at", Moment),
    Field::new("turns", "/turns", Count),
    Field::new("most turns", "/max_turns", Count),
    Field::new("tokens", "/cost/tokens", Count),
    Field::new("cost", "/cost/cost_usd_micros", Usd),
    Field::new("working time", "/cost/time_ms", Millis),
    Field::new("budget", "/budget", Text(200)),
    Field::new("error", "/error_code", Text(80)),
    Field::new("because", "/error_message", Text(400)),
    Field::new("trace", "/trace_id", Text(80)),
    Field::new("labels", "/metadata", Text(200)),
    Field::new("input", "/input", Text(400)),
    Field::new("output", "/output", Text(400)),
];

/// Tool calls of a run.
pub(crate) const TOOL_CALLS: &[Field] = &[
    Field::new("TURN", "/turn", Count),
    Field::new("TOOL", "/tool_name", Text(32)),
    Field::new("STATUS", "/status", Status),
    Field::new("TIME", "/latency_ms", Millis),
    Field::new("INPUT", "/input", Text(40)),
    Field::new("OUTPUT", "/output", Text(40)),
    Field::new("ERROR", "/error_message", Text(60)),
];

/// Model calls of a run.
pub(crate) const LLM_CALLS: &[Field] = &[
    Field::new("TURN", "/turn", Count),
    Field::new("MODEL", "/model", Text(32)),
    Field::new("STATUS", "/status", Status),
    Field::new("IN", "/input_tokens", Count),
    Field::new("OUT", "/output_tokens", Count),
    Field::new("COST", "/cost_usd_micros", Usd),
    Field::new("TIME", "/duration_ms", Millis),
    Field::new("FIRST TOKEN", "/time_to_first_token_ms", Millis),
    Field::new("ROUTE", "/route", Text(40)),
    Field::new("ERROR", "/error_message", Text(60)),
];

/// `runs events`.
pub(crate) const EVENTS: &[Field] = &[
    Field::new("SEQ", "/seq", Count),
    Field::new("TIME", "/time", Moment),
    Field::new("EVENT", "/type", Text(48)),
    Field::new("DATA", "/data", Text(100)),
];

/// `sessions list`.
pub(crate) const SESSIONS: &[Field] = &[
    Field::new("SESSION", "/id", Text(ID)),
    Field::new("STATUS", "/status", Status),
    Field::new("USER", "/user_id", Text(24)),
    Field::new("CREATED", "/created_at", Moment),
    Field::new("UPDATED", "/updated_at", Moment),
    Field::new("LAST RUN", "/last_run_id", Text(ID)),
];

/// `sessions show`.
pub(crate) const SESSION: &[Field] = &[
    Field::new("session", "/id", Text(ID)),
    Field::new("status", "/status", Status),
    Field::new("user", "/user_id", Text(80)),
    Field::new("created", "/created_at", Moment),
    Field::new("updated", "/updated_at", Moment),
    Field::new("last run", "/last_run_id", Text(ID)),
    Field::new("budget", "/budget", Text(200)),
    Field::new("policy context", "/policy_context", Text(400)),
    Field::new("labels", "/metadata", Text(200)),
];

/// `sessions messages`.
pub(crate) const MESSAGES: &[Field] = &[
    Field::new("TIME", "/created_at", Moment),
    Field::new("ROLE", "/role", Text(12)),
    Field::new("TOKENS", "/tokens", Count),
    Field::new("TEXT", "/content", Text(100)),
];

/// `budgets list` and `budgets show`.
pub(crate) const BUDGETS: &[Field] = &[
    Field::new("SCOPE", "/scope/kind", Text(12)),
    Field::new("ID", "/scope/id", Text(ID)),
    Field::new("WINDOW", "/window", Text(12)),
    Field::new("TOKENS SPENT", "/spent/tokens", Count),
    Field::new("HELD", "/reserved/tokens", Count),
    Field::new("LIMIT", "/limits/tokens", Count),
    Field::new("COST SPENT", "/spent/cost_usd_micros", Usd),
    Field::new("HELD", "/reserved/cost_usd_micros", Usd),
    Field::new("LIMIT", "/limits/cost_usd_micros", Usd),
    Field::new("TIME SPENT", "/spent/time_ms", Millis),
    Field::new("HELD", "/reserved/time_ms", Millis),
    Field::new("LIMIT", "/limits/time_ms", Millis),
];

/// Who holds a budget.
pub(crate) const RESERVATIONS: &[Field] = &[
    Field::new("RESERVATION", "/id", Text(ID)),
    Field::new("RUN", "/run_id", Text(ID)),
    Field::new("TURN", "/turn", Count),
    Field::new("TOKENS", "/amounts/tokens", Count),
    Field::new("COST", "/amounts/cost_usd_micros", Usd),
    Field::new("SINCE", "/since", Moment),
    Field::new("EXPIRES", "/expires_at", Moment),
];

/// `policies list`.
pub(crate) const POLICIES: &[Field] = &[
    Field::new("BUNDLE", "/digest", Text(71)),
    Field::new("ACTIVE", "/active", Flag),
    Field::new("SHADOW", "/in_shadow", Flag),
    Field::new("PUBLISHED", "/published_at", Moment),
    Field::new("BY", "/published_by", Text(24)),
    Field::new("ACTIVATED", "/activated_at", Moment),
    Field::new("BY", "/activated_by", Text(24)),
];

/// `policies shadow --status`.
pub(crate) const SHADOWS: &[Field] = &[
    Field::new("BUNDLE", "/digest", Text(71)),
    Field::new("SHADOW", "/in_shadow", Flag),
    Field::new("ASKED", "/shadow/decisions", Count),
    Field::new("DIFFERS", "/shadow/differences", Count),
    Field::new("WOULD ALLOW", "/shadow/by_kind/would_allow", Count),
    Field::new("WOULD DENY", "/shadow/by_kind/would_deny", Count),
    Field::new("WOULD ASK", "/shadow/by_kind/would_ask", Count),
    Field::new("FAILED", "/shadow/by_kind/failed", Count),
    Field::new("LAST", "/shadow/last_at", Moment),
];

/// `policies evaluate`.
pub(crate) const DECISION: &[Field] = &[
    Field::new("allowed", "/allowed", Flag),
    Field::new("approval", "/approval", Text(200)),
    Field::new("obligations", "/obligations", Text(200)),
    Field::new("because", "/reasons", Text(400)),
    Field::new("rules", "/rules", Text(400)),
    Field::new("at", "/places", Text(400)),
    Field::new("error", "/error", Text(400)),
    Field::new("bundle", "/bundle", Text(80)),
    Field::new("took (µs)", "/duration_us", Count),
];

/// `tools list`.
pub(crate) const TOOLS: &[Field] = &[
    Field::new("TOOL", "/name", Text(32)),
    Field::new("VERSION", "/version", Text(16)),
    Field::new("CATEGORY", "/category", Text(24)),
    Field::new("IDEMPOTENT", "/idempotent", Flag),
    Field::new("DESCRIPTION", "/description", Text(80)),
];

/// `agents list`.
pub(crate) const AGENTS: &[Field] = &[
    Field::new("AGENT", "/name", Text(32)),
    Field::new("VERSION", "/version", Text(16)),
    Field::new("TOOLS", "/tools", Text(40)),
    Field::new("TURNS", "/max_turns", Count),
    Field::new("INSTRUCTIONS", "/instructions", Text(80)),
];

/// `models list`.
pub(crate) const MODELS: &[Field] = &[
    Field::new("MODEL", "/id", Text(48)),
    Field::new("OWNED BY", "/owned_by", Text(32)),
];

/// `audit list`.
pub(crate) const AUDIT: &[Field] = &[
    Field::new("TIME", "/created_at", Moment),
    Field::new("USER", "/user_id", Text(24)),
    Field::new("ACTION", "/action", Text(32)),
    Field::new("RESOURCE", "/resource_type", Text(16)),
    Field::new("ID", "/resource_id", Text(ID)),
    Field::new("WHY", "/reason", Text(60)),
    Field::new("FROM", "/ip_address", Text(39)),
    Field::new("SEQ", "/seq", Count),
];

/// `dlq list`.
pub(crate) const LETTERS: &[Field] = &[
    Field::new("LETTER", "/seq", Count),
    Field::new("TIME", "/time", Moment),
    Field::new("TENANT", "/tenant", Text(24)),
    Field::new("ROLE", "/role", Text(12)),
    Field::new("SUBJECT", "/subject", Text(48)),
    Field::new("TRIES", "/attempts", Count),
    Field::new("REASON", "/reason", Text(80)),
];
