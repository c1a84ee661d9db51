//! What a run records. Each event holds what is new, never the history again.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::embed::{Embedding, TextsEmbedded};
use super::in_session::{InQueue, RunAwaited, RunDequeued, RunTakenBack};
use super::routing::Routing;
use super::summary::ContextSummarised;
use crate::aggregate::events;
use crate::body::Body;
use crate::command::Budget;
use crate::content::Finding;
use crate::envelope::Actor;
use crate::ids::{ApprovalId, ReservationId, RunId, SessionId};
use crate::ledger::{Amounts, Limits, OwnLimits, Scope, Shortage, Unit, Window};
use crate::model::{FinishReason, Sampling, ToolCall, Usage};
use crate::policy::{ApprovalRequirement, Obligations, ShadowDecided};
use crate::time::Timestamp;
use crate::tool::ToolPin;

events! {
    /// What a run records.
    RunEvent {
        /// It began.
        RunStarted(RunStarted) = "nexus.run.started.v1",
        /// Policy judged what it is about to do.
        PolicyDecided(PolicyDecided) = "nexus.run.policy-decided.v1",
        /// The ledger holds what its next model call may spend.
        ReservationGranted(ReservationGranted) = "nexus.run.reservation-granted.v1",
        /// People are asked whether a step may go ahead.
        ApprovalRequested(ApprovalRequested) = "nexus.run.approval-requested.v1",
        /// One of them agreed.
        ApprovalGranted(ApprovalGranted) = "nexus.run.approval-granted.v1",
        /// One of them did not.
        ApprovalDenied(ApprovalDenied) = "nexus.run.approval-denied.v1",
        /// Nobody answered in time.
        ApprovalExpired(ApprovalExpired) = "nexus.run.approval-expired.v1",
        /// Further roles may answer.
        ApprovalEscalated(ApprovalEscalated) = "nexus.run.approval-escalated.v1",
        /// An approver changed what a tool is called with; policy sees it again.
        ToolArgumentsChanged(ToolArgumentsChanged) = "nexus.run.tool-arguments-changed.v1",
        /// A step waits until budget returns, or until a person grants more.
        RunParked(RunParked) = "nexus.run.parked.v1",
        /// A cheaper model is taken from here on.
        ModelDowngraded(ModelDowngraded) = "nexus.run.model-downgraded.v1",
        /// Another model of the agent's is taken from here on, since the one before does not answer.
        ModelSwitched(ModelSwitched) = "nexus.run.model-switched.v1",
        /// The ledger has too little for its next step.
        ReservationRefused(ReservationRefused) = "nexus.run.reservation-refused.v1",
        /// The call came too late: what was held had expired.
        ReservationLapsed(ReservationLapsed) = "nexus.run.reservation-lapsed.v1",
        /// A model answered.
        LlmCompleted(LlmCompleted) = "nexus.run.llm-completed.v1",
        /// No model answered.
        LlmFailed(LlmFailed) = "nexus.run.llm-failed.v1",
        /// The oldest part of the conversation was summarised, since it outgrew the model.
        ContextSummarised(ContextSummarised) = "nexus.run.context-summarised.v1",
        /// A model made vectors of the run's texts.
        TextsEmbedded(TextsEmbedded) = "nexus.run.texts-embedded.v1",
        /// The run was cancelled while a model answered: what was generated is charged.
        LlmAborted(LlmAborted) = "nexus.run.llm-aborted.v1",
        /// A tool is about to take effect.
        ToolStarted(ToolStarted) = "nexus.run.tool-started.v1",
        /// It gave a result.
        ToolCompleted(ToolCompleted) = "nexus.run.tool-completed.v1",
        /// It gave an error, which the model is told.
        ToolFailed(ToolFailed) = "nexus.run.tool-failed.v1",
        /// It may have taken effect or not, and must not be tried again by itself.
        ToolInDoubt(ToolInDoubt) = "nexus.run.tool-in-doubt.v1",
        /// Somebody said what became of it.
        ToolResolved(ToolResolved) = "nexus.run.tool-resolved.v1",
        /// Its turn has come in its session.
        RunDequeued(RunDequeued) = "nexus.run.dequeued.v1",
        /// Another run of its session waits for its end.
        RunAwaited(RunAwaited) = "nexus.run.awaited.v1",
        /// Another run takes its place, as if it had never been; `RunCancelled` follows.
        RunTakenBack(RunTakenBack) = "nexus.run.taken-back.v1",
        /// Somebody told the run something; the model sees it at the next turn.
        RunSignalled(RunSignalled) = "nexus.run.signalled.v1",
        /// No further step is taken.
        RunPaused(RunPaused) = "nexus.run.paused.v1",
        /// Steps are taken again.
        RunResumed(RunResumed) = "nexus.run.resumed.v1",
        /// It ended with an answer: the text of its last `LlmCompleted`.
        RunCompleted(RunCompleted) = "nexus.run.completed.v1",
        /// It ended without one.
        RunFailed(RunFailed) = "nexus.run.failed.v1",
        /// It was stopped.
        RunCancelled(RunCancelled) = "nexus.run.cancelled.v1",
    }
}

/// It began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The run.
    pub run_id: RunId,
    /// The conversation that it belongs to.
    pub session: SessionLink,
    /// Who started it.
    pub user: Actor,
    /// The agent, with the version that the run keeps.
    pub agent: AgentRef,
    /// The model.
    pub model: String,
    /// The tools that the model may call.
    pub tools: Vec<String>,
    /// The version of each that the run keeps. Runs that were started before there were any have
    /// the tools of the platform.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, ToolPin>,
    /// What the person said; empty where the caller's own conversation ends otherwise.
    pub input: Body,
    /// What its caller brought beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Box<Given>>,
    /// The run is one call of its tool, with these arguments, and no model is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoke: Option<serde_json::Value>,
    /// What the run may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The run that it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentLink>,
    /// Model calls that it may make.
    pub max_turns: u32,
    /// The caller's own labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// W3C trace id, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Tokens of the first prompt but for what the session said before: input, instructions, tools
    /// and template, as the model's tokenizer counts them. Without it, bytes bound them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// It waits for its turn in its session (`RunDequeued`), which says whom it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<InQueue>,
}

impl RunStarted {
    /// The one call of a run that is an invocation.
    pub fn invoked(&self) -> Option<ToolCall> {
        Some(ToolCall {
            id: INVOKED.to_owned(),
            name: self.tools.first()?.clone(),
            arguments: self.invoke.clone()?,
        })
    }
}

/// The id of the call of a run that is an invocation.
pub const INVOKED: &str = "invoke";

/// What a caller brings that keeps the conversation itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// What was said before the input: a list of messages as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Body>,
    /// Instructions in it stand in the place of the agent's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub instructs: bool,
    /// Names of the tools that the caller executes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<String>,
    /// What the model is told of them: a list as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_tool_specs: Option<Body>,
    /// How the model is to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// No conversation: these texts become vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedding>,
}

/// How a run continues a conversation. History is read back along `previous`, never repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionLink {
    /// The session.
    pub id: SessionId,
    /// The run before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousRun>,
    /// What all runs of the session together may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What policy is told of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_context: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The run that a child works for, and every budget that the child spends from with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParentLink {
    /// The parent.
    pub run_id: RunId,
    /// Every scope that the parent counts in, its own parents' included.
    pub scopes: Vec<Scope>,
    /// The budgets that they brought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_limits: Vec<OwnLimits>,
}

/// The run before this one in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviousRun {
    /// The run.
    pub run_id: RunId,
    /// Sequence of its first commit.
    pub first_seq: u64,
    /// Bound on the tokens of the conversation up to its end.
    pub context_tokens: u64,
}

/// An agent and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Where policy is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum PolicyPoint {
    /// Before the run does anything.
    #[default]
    #[serde(rename = "run.start")]
    RunStart,
    /// Before a model is called.
    #[serde(rename = "llm.call")]
    LlmCall {
        /// The turn.
        turn: u32,
    },
    /// Before a tool is called.
    #[serde(rename = "tool.call")]
    ToolCall {
        /// The turn.
        turn: u32,
        /// The call within the turn.
        call_id: String,
    },
}

impl PolicyPoint {
    /// The point's name in a policy's input.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStart => "run.start",
            Self::LlmCall { .. } => "llm.call",
            Self::ToolCall { .. } => "tool.call",
        }
    }
}

/// Policy judged what the run is about to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyDecided {
    /// What was judged.
    pub point: PolicyPoint,
    /// The judgement.
    pub allowed: bool,
    /// Why, for people.
    pub reasons: Vec<String>,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// Digest of the bundle that decided.
    pub bundle: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// What went wrong; then the judgement is a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What people had agreed to is good no more: the bundle or what is to be done has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<ApprovalId>,
    /// Not allowed yet: people are asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequirement>,
    /// What whoever goes ahead must keep to.
    #[serde(default, skip_serializing_if = "Obligations::is_empty")]
    pub obligations: Obligations,
    /// What policy was told is left of the session's budget; absent where nothing was limited. The
    /// rest of the question is on the run's log, this is the ledger's: so that it can be asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<Limits>,
    /// What the bundle in shadow would have decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<ShadowDecided>>,
}

/// People are asked whether a step may go ahead. The answer is good for exactly this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalRequested {
    /// The question.
    pub approval_id: ApprovalId,
    /// The step.
    pub point: PolicyPoint,
    /// The tool that is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What it is to be called with; absent where it is too long to be asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<serde_json::Value>,
    /// Digest of the run, the step and its arguments.
    pub subject: String,
    /// Digest of the bundle that asked.
    pub bundle: String,
    /// Why, for people.
    pub reasons: Vec<String>,
    /// Who started the run, and may not answer.
    pub requester: String,
    /// Roles of which an approver must have one.
    pub roles: Vec<String>,
    /// How many different people have to agree.
    pub count: u32,
    /// When the answer is no by itself.
    pub expires_at: Timestamp,
    /// When further roles may answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_at: Option<Timestamp>,
    /// Those roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate_to: Vec<String>,
}

/// One person agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalGranted {
    /// The question.
    pub approval_id: ApprovalId,
    /// Who.
    pub approver: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many more have to agree; policy judges again when none.
    pub missing: u32,
}

/// One person did not agree: that is the end of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalDenied {
    /// The question.
    pub approval_id: ApprovalId,
    /// Who.
    pub approver: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ApprovalDenied {
    /// For people and models.
    pub fn words(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{} did not approve: {reason}", self.approver),
            None => format!("{} did not approve", self.approver),
        }
    }
}

/// Nobody answered in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalExpired {
    /// The question.
    pub approval_id: ApprovalId,
}

/// Further roles may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalEscalated {
    /// The question.
    pub approval_id: ApprovalId,
    /// They may too.
    pub roles: Vec<String>,
}

/// An approver changed what a tool is called with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolArgumentsChanged {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// What it is called with instead.
    pub arguments: serde_json::Value,
    /// The question that was answered so.
    pub approval_id: ApprovalId,
    /// Digest of what is asked from here on.
    pub subject: String,
}

/// The ledger holds what the next model call may spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationGranted {
    /// The turn.
    pub turn: u32,
    /// The tool call; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The reservation.
    pub reservation_id: ReservationId,
    /// What is held.
    pub amounts: Amounts,
    /// The time is what a budget had left: the run fails when it is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub time_limited: bool,
    /// Tokens that the answer may have.
    pub max_output_tokens: u64,
    /// When it goes back by itself.
    pub expires_at: Timestamp,
    /// Sequence of the ledger's commit.
    pub ledger_seq: u64,
}

impl ReservationGranted {
    /// Whether a call that begins `now` and takes all of its time ends before the reservation does.
    /// A call that cannot would be settled late, when others may have been given what it spends.
    pub fn covers_call_at(&self, now: Timestamp) -> bool {
        now.plus_millis(self.amounts.time_ms) <= self.expires_at
    }
}

/// A step waits: nothing is held, and its place in the line is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunParked {
    /// The turn.
    pub turn: u32,
    /// The tool call; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The reservation that waits: what a person grants or refuses.
    pub reservation_id: ReservationId,
    /// What it waits for. `on_exhausted` is `approve` where a person is asked.
    pub shortage: Shortage,
}

/// A cheaper model is taken from here on; policy judges it before it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelDowngraded {
    /// The turn.
    pub turn: u32,
    /// The model until now.
    pub from: String,
    /// The model from here on.
    pub to: String,
}

/// No endpoint of a model answers, and another model of the agent's is taken from here on; policy
/// judges it before it is called, and the ledger is asked anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelSwitched {
    /// The turn.
    pub turn: u32,
    /// The model until now.
    pub from: String,
    /// The model from here on.
    pub to: String,
    /// Why: the stable code of the call that failed.
    pub reason: String,
}

/// The ledger has too little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationRefused {
    /// The turn.
    pub turn: u32,
    /// The tool call; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The scope that has too little.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
    /// Which unit.
    pub unit: Unit,
    /// Its limit.
    pub limit: u64,
    /// What was spent.
    pub spent: u64,
    /// What is held.
    pub reserved: u64,
    /// The least that the call needs.
    pub needed: u64,
}

/// What was held expired before the call was made; the run asks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationLapsed {
    /// The turn.
    pub turn: u32,
    /// The tool call; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The reservation.
    pub reservation_id: ReservationId,
}

/// A model answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LlmCompleted {
    /// The turn.
    pub turn: u32,
    /// Who served it.
    pub provider: String,
    /// The model, as the provider names it.
    pub model: String,
    /// The answer.
    pub text: Body,
    /// Tools that it wants called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish: FinishReason,
    /// Tokens.
    pub usage: Usage,
    /// What they cost.
    pub cost_usd_micros: u64,
    /// How long the call took.
    pub duration_ms: u64,
    /// How long its first token took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
    /// The provider's id of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// Why this provider and model.
    pub route: String,
    /// The same for programs, with every attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Box<Routing>>,
    /// What the content filter found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Nobody was called: it is an earlier answer to the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedAnswer>,
}

/// Which answer was given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CachedAnswer {
    /// Digest of what was asked, `sha256:<hex>`.
    pub digest: String,
    /// When a model answered it.
    pub at: Timestamp,
}

/// No model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LlmFailed {
    /// The turn.
    pub turn: u32,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// Tokens that were generated all the same.
    pub usage: Usage,
    /// What they cost.
    pub cost_usd_micros: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// What the content filter found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The turn's call is made again, and budget for it asked anew; absent where the run fails with
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// What was tried, and what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Box<Routing>>,
}

/// How a turn goes on whose model call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// With the same model.
    SameModel,
    /// With this other one of the agent's; `ModelSwitched` follows in the same commit.
    NextModel(String),
}

/// The run had ended while a model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LlmAborted {
    /// The turn.
    pub turn: u32,
    /// Tokens that were generated.
    pub usage: Usage,
    /// What they cost.
    pub cost_usd_micros: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// A tool is about to take effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolStarted {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// How often it was started, from 1.
    pub attempt: u32,
}

/// A tool gave a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCompleted {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// The result as JSON text.
    pub output: Body,
    /// How long it took.
    pub duration_ms: u64,
    /// Tokens of the result. Without it, bytes bound them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Nothing was executed: an identical call of the run had this result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<EarlierCall>,
}

/// A call of the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierCall {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
}

/// A tool gave an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolFailed {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// Stable code.
    pub code: String,
    /// What the model is told.
    pub message: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// A call was started, and nobody can say whether it took effect. What was held for it is settled as
/// spent; it waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolInDoubt {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Which start is in doubt, from 1.
    pub attempt: u32,
    /// What is known.
    pub message: String,
    /// How long it may have been at work: what it is charged.
    pub duration_ms: u64,
}

/// What became of a call that was in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It took effect; the model is told the result that is given.
    Done,
    /// It did not, and is not to be tried again; the model is told so.
    Failed,
    /// It is to be executed once more.
    Retry,
}

impl Resolution {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Retry => "retry",
        }
    }
}

/// Somebody said what became of a call that was in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolResolved {
    /// The turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// What became of it.
    #[serde(rename = "as")]
    pub resolution: Resolution,
    /// With `done`: its result as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Body>,
    /// Tokens of the result. Without it, bytes bound them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Who said so.
    pub by: String,
    /// Why, for the log; with `failed`, for the model too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Somebody told the run something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunSignalled {
    /// What.
    pub input: Body,
    /// Tokens of it. Without it, bytes bound them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// No further step is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunPaused {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Steps are taken again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunResumed {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// It ended with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCompleted {
    /// Tokens of all its model calls.
    pub tokens: u64,
    /// What they cost.
    pub cost_usd_micros: u64,
    /// From start to end.
    pub duration_ms: u64,
    /// What the last turn asks the caller to execute: the answer is these calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_calls: Vec<EarlierCall>,
}

/// It ended without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFailed {
    /// Stable code, such as `budget_exhausted`.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

/// It was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCancelled {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
