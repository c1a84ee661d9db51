//! What the tables and sheets show, resource by resource, in one visible list.

use super::view::Field;
use super::view::Kind::{Count, Findings, Flag, Millis, Moment, Status, Text, Usd};

const ID: usize = 36;

/// `tenants list`.
pub(crate) const TENANTS: &[Field] = &[
    Field::new("TENANT", "/tenant", Text(63)),
    Field::new("LEDGER COMMITS", "/ledger_commits", Count),
];

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
    Field::new("works for run", "/parent_run_id", Text(ID)),
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

/// `tools invoke`: the run, and its one call.
pub(crate) const INVOKED: &[Field] = &[
    Field::new("run", "/id", Text(ID)),
    Field::new("status", "/status", Status),
    Field::new("tool", "/tool_calls/0/tool_name", Text(80)),
    Field::new("version", "/tool_calls/0/tool_version", Text(80)),
    Field::new("time", "/tool_calls/0/latency_ms", Millis),
    Field::new("output", "/tool_calls/0/output", Text(4_000)),
];

/// Model calls of a run.
pub(crate) const LLM_CALLS: &[Field] = &[
    Field::new("TURN", "/turn", Count),
    Field::new("MODEL", "/model", Text(32)),
    Field::new("PROVIDER", "/provider", Text(20)),
    Field::new("STATUS", "/status", Status),
    Field::new("IN", "/input_tokens", Count),
    Field::new("OUT", "/output_tokens", Count),
    Field::new("COST", "/cost_usd_micros", Usd),
    Field::new("TIME", "/duration_ms", Millis),
    Field::new("FIRST TOKEN", "/time_to_first_token_ms", Millis),
    Field::new("CACHE READ", "/cached_input_tokens", Count),
    Field::new("CACHE WRITE", "/cache_write_tokens", Count),
    Field::new("ANSWERED BEFORE", "/cached/at", Moment),
    Field::new("FOUND", "/findings", Findings),
    Field::new("ROUTE", "/route", Text(40)),
    Field::new("ERROR", "/error_message", Text(60)),
];
/// Of these the ones that are always shown.
pub(crate) const LLM_CALLS_ALWAYS: usize = 9;

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

/// `budgets list` and `budgets show`; columns that say nothing are left out.
pub(crate) const BUDGETS: &[Field] = &[
    Field::new("SCOPE", "/scope/kind", Text(12)),
    Field::new("ID", "/scope/id", Text(ID)),
    Field::new("WINDOW", "/window", Text(12)),
    Field::new("TOKENS SPENT", "/spent/tokens", Count),
    Field::new("TOKENS HELD", "/reserved/tokens", Count),
    Field::new("TOKEN LIMIT", "/limits/tokens", Count),
    Field::new("COST SPENT", "/spent/cost_usd_micros", Usd),
    Field::new("COST HELD", "/reserved/cost_usd_micros", Usd),
    Field::new("COST LIMIT", "/limits/cost_usd_micros", Usd),
    Field::new("TIME SPENT", "/spent/time_ms", Millis),
    Field::new("TIME HELD", "/reserved/time_ms", Millis),
    Field::new("TIME LIMIT", "/limits/time_ms", Millis),
    Field::new("TOOL CALLS", "/spent/tool_calls", Count),
    Field::new("CALLS HELD", "/reserved/tool_calls", Count),
    Field::new("CALL LIMIT", "/limits/tool_calls", Count),
    Field::new("RUNS IN FLIGHT", "/reserved/runs", Count),
    Field::new("RUN LIMIT", "/limits/runs", Count),
    Field::new("EXHAUSTED", "/on_exhausted", Text(12)),
    Field::new("RESETS", "/resets_at", Moment),
    Field::new("ENDED", "/ended", Flag),
];

/// `approvals list`.
pub(crate) const APPROVALS: &[Field] = &[
    Field::new("APPROVAL", "/id", Text(ID)),
    Field::new("STATUS", "/status", Status),
    Field::new("RUN", "/run_id", Text(ID)),
    Field::new("BEFORE", "/point", Text(12)),
    Field::new("TOOL", "/tool", Text(24)),
    Field::new("ARGUMENTS", "/arguments", Text(48)),
    Field::new("FOR", "/requester", Text(24)),
    Field::new("BY ROLE", "/roles", Text(32)),
    Field::new("PEOPLE", "/count", Count),
    Field::new("EXPIRES", "/expires_at", Moment),
];

/// `approvals show`.
pub(crate) const APPROVAL: &[Field] = &[
    Field::new("approval", "/id", Text(ID)),
    Field::new("status", "/status", Status),
    Field::new("run", "/run_id", Text(ID)),
    Field::new("before", "/point", Text(12)),
    Field::new("turn", "/turn", Count),
    Field::new("tool", "/tool", Text(80)),
    Field::new("arguments", "/arguments", Text(4_000)),
    Field::new("because", "/reasons", Text(400)),
    Field::new("requested by", "/requester", Text(80)),
    Field::new("by role", "/roles", Text(200)),
    Field::new("people", "/count", Count),
    Field::new("asked", "/requested_at", Moment),
    Field::new("expires", "/expires_at", Moment),
    Field::new("escalated", "/escalated_at", Moment),
    Field::new("decided", "/decided_at", Moment),
    Field::new("policy", "/bundle", Text(71)),
    Field::new("subject", "/subject", Text(71)),
];

/// Answers to a question.
pub(crate) const ANSWERS: &[Field] = &[
    Field::new("AT", "/at", Moment),
    Field::new("BY", "/user", Text(40)),
    Field::new("ANSWER", "/answer", Text(12)),
    Field::new("REASON", "/reason", Text(80)),
];

/// Who holds a budget.
pub(crate) const RESERVATIONS: &[Field] = &[
    Field::new("RESERVATION", "/id", Text(ID)),
    Field::new("RUN", "/run_id", Text(ID)),
    Field::new("TURN", "/turn", Count),
    Field::new("TOOL CALL", "/call_id", Text(24)),
    Field::new("MODEL", "/model", Text(24)),
    Field::new("TOKENS", "/amounts/tokens", Count),
    Field::new("COST", "/amounts/cost_usd_micros", Usd),
    Field::new("SINCE", "/since", Moment),
    Field::new("EXPIRES", "/expires_at", Moment),
];

/// `budgets waiting`, and who waits for a budget.
pub(crate) const WAITING: &[Field] = &[
    Field::new("PLACE", "/waits_for/place", Count),
    Field::new("RESERVATION", "/id", Text(ID)),
    Field::new("RUN", "/run_id", Text(ID)),
    Field::new("TOOL CALL", "/call_id", Text(24)),
    Field::new("IN DOUBT", "/message", Text(40)),
    Field::new("FOR", "/waits_for/unit", Text(16)),
    Field::new("OF", "/waits_for/scope/kind", Text(12)),
    Field::new("ID", "/waits_for/scope/id", Text(ID)),
    Field::new("WINDOW", "/waits_for/window", Text(12)),
    Field::new("NEEDS", "/waits_for/needed", Count),
    Field::new("LIMIT", "/waits_for/limit", Count),
    Field::new("SPENT", "/waits_for/spent", Count),
    Field::new("HELD", "/waits_for/reserved", Count),
    Field::new("ASKS", "/waits_for/asks_person", Flag),
    Field::new("SINCE", "/since", Moment),
];

/// What a run waits for.
pub(crate) const WAITS_FOR: &[Field] = &[
    Field::new("RESERVATION", "/reservation_id", Text(ID)),
    Field::new("TOOL CALL", "/call_id", Text(24)),
    Field::new("FOR", "/unit", Text(16)),
    Field::new("OF", "/scope/kind", Text(12)),
    Field::new("ID", "/scope/id", Text(ID)),
    Field::new("WINDOW", "/window", Text(12)),
    Field::new("NEEDS", "/needed", Count),
    Field::new("LIMIT", "/limit", Count),
    Field::new("SPENT", "/spent", Count),
    Field::new("HELD", "/reserved", Count),
    Field::new("SINCE", "/since", Moment),
];

/// `budgets spend`.
pub(crate) const SPEND: &[Field] = &[
    Field::new("DAY", "/day", Text(10)),
    Field::new("USER", "/user", Text(32)),
    Field::new("AGENT", "/agent", Text(24)),
    Field::new("MODEL", "/model", Text(32)),
    Field::new("CALLS", "/calls", Count),
    Field::new("TOOL CALLS", "/tool_calls", Count),
    Field::new("TOKENS", "/tokens", Count),
    Field::new("COST", "/cost_usd_micros", Usd),
    Field::new("TIME", "/time_ms", Millis),
    Field::new("OVERRUNS", "/overruns", Count),
    Field::new("LATE", "/late", Count),
];

/// `budgets alerts`.
pub(crate) const ALERTS: &[Field] = &[
    Field::new("TIME", "/created_at", Moment),
    Field::new("KIND", "/kind", Text(12)),
    Field::new("SCOPE", "/scope/kind", Text(12)),
    Field::new("ID", "/scope/id", Text(ID)),
    Field::new("WINDOW", "/window", Text(12)),
    Field::new("UNIT", "/unit", Text(16)),
    Field::new("PERCENT", "/percent", Count),
    Field::new("SPENT", "/spent", Count),
    Field::new("LIMIT", "/limit", Count),
    Field::new("RUN", "/run_id", Text(ID)),
    Field::new("USER", "/user", Text(24)),
    Field::new("MODEL", "/model", Text(24)),
    Field::new("TOO MANY TOKENS", "/excess/tokens", Count),
    Field::new("TOO MUCH", "/excess/cost_usd_micros", Usd),
    Field::new("TOO LONG", "/excess/time_ms", Millis),
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

/// `keys list`.
pub(crate) const KEYS: &[Field] = &[
    Field::new("KEY", "/id", Text(ID)),
    Field::new("NAME", "/name", Text(24)),
    Field::new("USER", "/user_id", Text(24)),
    Field::new("ROLES", "/roles", Text(32)),
    Field::new("GROUPS", "/groups", Text(32)),
    Field::new("STATUS", "/status", Status),
    Field::new("CREATED", "/created_at", Moment),
    Field::new("EXPIRES", "/expires_at", Moment),
    Field::new("REQ/MIN", "/requests_per_minute", Count),
    Field::new("TOK/MIN", "/tokens_per_minute", Count),
    Field::new("RUNS", "/runs", Count),
];

/// `webhooks list`.
pub(crate) const WEBHOOKS: &[Field] = &[
    Field::new("WEBHOOK", "/id", Text(ID)),
    Field::new("URL", "/url", Text(48)),
    Field::new("TYPES", "/types", Text(40)),
    Field::new("STATUS", "/status", Status),
    Field::new("CURSOR", "/cursor", Count),
    Field::new("WAITING", "/waiting", Count),
    Field::new("DELIVERED", "/delivered", Count),
    Field::new("LAST", "/last_delivered_at", Moment),
    Field::new("FAILING SINCE", "/failing_since", Moment),
];

/// `webhooks show`.
pub(crate) const WEBHOOK: &[Field] = &[
    Field::new("Webhook", "/id", Text(ID)),
    Field::new("URL", "/url", Text(2048)),
    Field::new("Description", "/description", Text(255)),
    Field::new("Types", "/types", Text(2048)),
    Field::new("Agent", "/agent", Text(64)),
    Field::new("Session", "/session_id", Text(ID)),
    Field::new("Status", "/status", Status),
    Field::new("Disabled by", "/disabled_by", Text(16)),
    Field::new("Why", "/disabled_reason", Text(255)),
    Field::new("Created", "/created_at", Moment),
    Field::new("Secret before until", "/previous_until", Moment),
    Field::new("Cursor", "/cursor", Count),
    Field::new("Read to", "/read_to", Count),
    Field::new("Waiting", "/waiting", Count),
    Field::new("Delivered", "/delivered", Count),
    Field::new("Given up", "/given_up", Count),
    Field::new("Last delivered", "/last_delivered_at", Moment),
    Field::new("Failing since", "/failing_since", Moment),
    Field::new("Next try", "/retry_at", Moment),
];

/// `webhooks deliveries`.
pub(crate) const DELIVERIES: &[Field] = &[
    Field::new("TIME", "/at", Moment),
    Field::new("SEQ", "/seq", Count),
    Field::new("INDEX", "/index", Count),
    Field::new("TYPE", "/type", Text(40)),
    Field::new("TRY", "/attempt", Count),
    Field::new("OUTCOME", "/outcome", Status),
    Field::new("STATUS", "/status", Count),
    Field::new("TOOK", "/took_ms", Millis),
    Field::new("ERROR", "/error", Text(64)),
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
    Field::new("KIND", "/kind", Text(12)),
    Field::new("STATE", "/state", Status),
    Field::new("CATEGORY", "/category", Text(24)),
    Field::new("IDEMPOTENT", "/idempotent", Flag),
    Field::new("DESCRIPTION", "/description", Text(80)),
];

/// `tools import`: what can be had.
pub(crate) const IMPORTED: &[Field] = &[
    Field::new("TOOL", "/name", Text(64)),
    Field::new("VERSION", "/version", Text(24)),
    Field::new("NEW", "/new", Flag),
    Field::new("OF THE SERVER", "/tool", Text(64)),
];

/// `tools import`: what cannot.
pub(crate) const REFUSED: &[Field] = &[
    Field::new("OF THE SERVER", "/tool", Text(64)),
    Field::new("BECAUSE", "/reason", Text(120)),
];

/// `tools show NAME`, above its versions.
pub(crate) const TOOL_VERSIONS: &[Field] = &[
    Field::new("tool", "/name", Text(64)),
    Field::new("runs get", "/default_version", Text(64)),
];

/// `tools show NAME@VERSION`.
pub(crate) const TOOL: &[Field] = &[
    Field::new("tool", "/name", Text(64)),
    Field::new("version", "/version", Text(64)),
    Field::new("kind", "/kind", Text(12)),
    Field::new("state", "/state", Status),
    Field::new("because", "/reason", Text(400)),
    Field::new("digest", "/digest", Text(80)),
    Field::new("category", "/category", Text(64)),
    Field::new("idempotent", "/idempotent", Flag),
    Field::new("reuse results", "/reuse_results", Flag),
    Field::new("description", "/description", Text(400)),
    Field::new("permissions", "/permissions", Text(400)),
    Field::new("limits", "/limits", Text(200)),
    Field::new("arguments", "/input_schema", Text(400)),
    Field::new("result", "/output_schema", Text(400)),
    Field::new("registered", "/registered_at", Moment),
    Field::new("by", "/registered_by", Text(80)),
    Field::new("changed", "/changed_at", Moment),
    Field::new("changed by", "/changed_by", Text(80)),
];

/// `tools doubts`.
pub(crate) const DOUBTS: &[Field] = &[
    Field::new("RUN", "/run_id", Text(ID)),
    Field::new("CALL", "/call_id", Text(40)),
    Field::new("TOOL", "/tool_name", Text(32)),
    Field::new("VERSION", "/tool_version", Text(16)),
    Field::new("ATTEMPTS", "/attempts", Count),
    Field::new("INPUT", "/input", Text(60)),
    Field::new("KNOWN", "/doubt", Text(60)),
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
