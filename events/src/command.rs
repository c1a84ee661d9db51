//! Every command, in one list: its subject, its versioned type and its body. Commands of a run
//! carry references and sequences, never history.

mod open;
mod start;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Actor;
use crate::ids::{ApprovalId, CommandId, ReservationId, RunId, SessionId};
use crate::keys::{CreateKey, RevokeKey, RotateKey};
use crate::ledger::{Amounts, Limits, OnExhausted, Scope, Thresholds, Window};
pub use crate::model::charged;
use crate::run::Resolution;
use crate::session::OnBusy;
use crate::time::Timestamp;
pub use crate::tool::ImportTools;
use crate::tool::ToolDefinition;
use crate::webhook::{
    CreateWebhook, DeleteWebhook, DisableWebhook, EnableWebhook, RewindWebhook, RotateWebhook,
    TestWebhook, UpdateWebhook,
};
pub use start::{Budget, StartRun};

/// A run as a command names it: enough to read it back without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRef {
    /// The run.
    pub run_id: RunId,
    /// Sequence of its first commit.
    pub first_seq: u64,
    /// Sequence of its last commit when the command was made: whoever handles it must have read
    /// this far.
    pub last_seq: u64,
}

/// `run.cancel`, `run.pause`, `run.resume`: the run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlRun {
    /// The run.
    pub run_id: RunId,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `run.signal`: a message into a running run, seen at its next turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRun {
    /// The run.
    pub run_id: RunId,
    /// The message.
    pub input: String,
}

/// `run.resolve`: what became of a tool call that is in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveTool {
    /// The run.
    pub run_id: RunId,
    /// The call.
    pub call_id: String,
    /// What became of it.
    #[serde(rename = "as")]
    pub resolution: Resolution,
    /// With `done`: its result, which the model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<serde_json::Value>,
    /// Why, for the log; with `failed`, for the model too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which start the person saw in doubt: the word is refused where it is another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// `run.deadline`: the time that a step's budget gave it is over. Sent by a timer on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndOfTime {
    /// The run.
    pub run: RunRef,
    /// What the step holds.
    pub reservation_id: ReservationId,
    /// When its time was over; a step that slept meanwhile has another.
    pub deadline: Timestamp,
}

/// `session.open`: a conversation with a budget of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// The session's id (a UUID). Opening one that exists is answered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// What all its runs together may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What policy is told of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_context: Option<serde_json::Map<String, serde_json::Value>>,
    /// What a run gets that is started while another of it goes on; it is refused when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_busy: Option<OnBusy>,
    /// The caller's own labels: at most 32 keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// `session.close`: no further runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseSession {
    /// The session.
    pub session_id: SessionId,
}

/// `session.next`: a run of the session ended for whose end another waits, or that waited itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextRun {
    /// The session.
    pub session_id: SessionId,
    /// The run that ended; absent where somebody only looks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// `budget.set`: limits of a scope in a window. They count from when they are first set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimits {
    /// Whose limits.
    pub scope: Scope,
    /// In which window; a lifetime when absent.
    #[serde(default)]
    pub window: Window,
    /// The limits; an absent one lifts it.
    #[serde(default)]
    pub limits: Limits,
    /// What happens to a step that does not fit; as before where absent, `reject` at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhausted>,
    /// Percentages of a limit at which spending is told; as before where absent, 80 and 95 at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

/// `budget.grant`: give one who waits what he waits for, by raising the limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBudget {
    /// The reservation that waits.
    pub reservation_id: ReservationId,
    /// By how much the limit is raised, in its own unit; by what is missing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
}

/// `budget.refuse`: say no to one who waits; the run fails with the figures and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefuseBudget {
    /// The reservation that waits.
    pub reservation_id: ReservationId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `budget.hold`: hold budget for spending outside of runs. The tenant's and the caller's own limits
/// always count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldBudget {
    /// The reservation's id (a UUID). Holding again under an id that is held is answered with it.
    pub reservation_id: ReservationId,
    /// Further scopes that it counts in: at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// What is held.
    pub amounts: Amounts,
    /// The model, for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it goes back by itself: 1 to 86,400 seconds, 900 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u64>,
}

impl HoldBudget {
    /// How long it is held.
    pub fn hold_seconds(&self) -> u64 {
        self.hold_seconds.unwrap_or(900).clamp(1, 86_400)
    }
}

/// `budget.release`: what was spent of a hold; the rest goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBudget {
    /// The hold.
    pub reservation_id: ReservationId,
    /// What was spent.
    #[serde(default)]
    pub spent: Amounts,
}

/// `budget.reserve`: hold what a step of a turn may spend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reserve {
    /// The run that will spend.
    pub run: RunRef,
    /// Its turn.
    pub turn: u32,
    /// The tool call; the model call where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// `budget.settle`: what was really spent; the rest goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settle {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The run that spent.
    pub run_id: RunId,
    /// What was spent.
    pub spent: Amounts,
    /// The run ended with it and is no longer in flight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_run: bool,
}

/// `budget.end`: a run ended that has nothing to settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndRun {
    /// The run.
    pub run_id: RunId,
}

/// `budget.expire`: return what reservations hold past their time. Sent by a timer on the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpireReservations {}

/// `approval.decide`: a person's answer to a question of policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideApproval {
    /// The run that waits.
    pub run_id: RunId,
    /// The question.
    pub approval_id: ApprovalId,
    /// The answer.
    pub answer: Answer,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of what the person saw: the answer is refused where something else is asked by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// With `approve`: what the tool is to be called with instead. Policy sees it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<serde_json::Value>,
}

/// A person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It may go ahead.
    Approve,
    /// It may not.
    Deny,
}

/// `approval.ring`: time has passed without an answer. Sent by a timer on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RingApproval {
    /// The run that waits.
    pub run: RunRef,
    /// The question.
    pub approval_id: ApprovalId,
    /// What is to be done.
    pub ring: Ring,
}

/// What time does to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// Further roles may answer.
    Escalate,
    /// The answer is no.
    Expire,
}

impl Ring {
    /// As in ids.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Escalate => "escalate",
            Self::Expire => "expire",
        }
    }
}

/// `policy.evaluate`: judge what the run is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluatePolicy {
    /// The run to be judged; its state says at which points.
    pub run: RunRef,
}

/// `policy.publish`: a bundle of Rego, compiled and tested before it is accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBundle {
    /// Files by path.
    pub modules: BTreeMap<String, String>,
    /// Data document.
    #[serde(default)]
    pub data: serde_json::Map<String, serde_json::Value>,
    /// Make it the active one at once.
    #[serde(default)]
    pub activate: bool,
}

/// `policy.activate`: decide by this bundle from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateBundle {
    /// Digest of a published bundle, or `builtin`.
    pub digest: String,
}

/// `policy.shadow`: ask a bundle beside the active one; it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowBundle {
    /// Digest of a published bundle, or `builtin`; absent or null for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// `policy.rollback`: decide by the bundle that was active before this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBackBundle {}

/// `policy.try`: decide on an input that somebody wrote. Nothing is recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TryPolicy {
    /// What the rules see as `input`.
    pub input: serde_json::Value,
    /// Digest of the bundle to ask, or `builtin`; the active one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Instead of a digest: the files of a bundle, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, String>,
    /// With files: their data document.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// `policy.explain`: why a run's steps were judged as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainPolicy {
    /// The run.
    pub run_id: RunId,
    /// Only of this turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// Only of this tool call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// `policy.backtest`: make recorded decisions again by another bundle. One answer covers a stretch of
/// the log; with its `next_seq` as `from_seq` the next goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BacktestPolicy {
    /// Digest of a published bundle, or `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Instead of a digest: the files of a bundle, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modules: BTreeMap<String, String>,
    /// With files: their data document.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub data: serde_json::Map<String, serde_json::Value>,
    /// Decisions from this moment on; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Decisions before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where to go on: the `next_seq` of the answer before. Takes the place of `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
}

/// `tool.register`: a version of a tool, which never changes. The same one again is answered with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    try_from = "serde_json::Map<String, serde_json::Value>",
    into = "ToolDefinition"
)]
#[schemars(with = "ToolDefinition")]
pub struct RegisterTool {
    /// The tool. Sources are text, modules base64.
    pub definition: ToolDefinition,
}

impl TryFrom<serde_json::Map<String, serde_json::Value>> for RegisterTool {
    type Error = String;

    /// Refuses fields that no tool of the kind has: a misspelt limit must not be lost in silence.
    fn try_from(fields: serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        let kind = fields.get("kind").and_then(serde_json::Value::as_str);
        let known = ToolDefinition::fields(kind.unwrap_or_default());
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            let name: String = name.chars().take(64).collect();
            return Err(format!(
                "unknown field `{name}`; there is {}",
                known.join(", ")
            ));
        }
        let definition = serde_json::from_value(fields.into());
        definition
            .map(|definition| Self { definition })
            .map_err(|error| error.to_string())
    }
}

impl From<RegisterTool> for ToolDefinition {
    fn from(command: RegisterTool) -> Self {
        command.definition
    }
}

/// `tool.deprecate`, `tool.remove`: the version, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireTool {
    /// The tool.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `llm.call`: call the model for a run's turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallModel {
    /// The run.
    pub run: RunRef,
    /// Its turn.
    pub turn: u32,
    /// How often the turn had asked the ledger anew: a command of an earlier round is over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u32,
}

/// `tool.execute`: execute one tool call of a run's turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecuteTool {
    /// The run.
    pub run: RunRef,
    /// Its turn.
    pub turn: u32,
    /// The call within the turn.
    pub call_id: String,
    /// How often the call had asked the ledger anew: a command of an earlier round is over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u32,
}

fn is_zero(round: &u32) -> bool {
    *round == 0
}

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No command has this subject.
    #[error("there is no command {role}.{verb}")]
    UnknownSubject {
        /// First token after `cmd`.
        role: String,
        /// The rest.
        verb: String,
    },
    /// `ce-type` names another command, or a version that is not known here.
    #[error("ce-type {found:?} does not fit this subject, which takes {expected:?}")]
    UnknownType {
        /// What the header says.
        found: String,
        /// What the subject takes.
        expected: &'static str,
    },
    /// The body is not this command's.
    #[error("the body of {type_name} cannot be read: {source}")]
    Body {
        /// The command's type.
        type_name: &'static str,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
}

/// Defines the list: variant, body, role and verb of its subject, and its versioned type.
macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $role:literal $verb:literal $type_name:literal $visible:ident,)+) => {
        /// Any command.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Command {
            $($(#[$doc])* $variant($body),)+
        }

        impl Command {
            /// First token of its subject after `cmd`.
            pub fn role(&self) -> &'static str {
                match self { $(Self::$variant(_) => $role,)+ }
            }

            /// Rest of its subject.
            pub fn verb(&self) -> &'static str {
                match self { $(Self::$variant(_) => $verb,)+ }
            }

            /// Versioned type, for `ce-type`.
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $type_name,)+ }
            }

            /// The body as JSON.
            ///
            /// # Errors
            /// Never with the types above; serde's signature.
            pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self { $(Self::$variant(body) => serde_json::to_vec(body),)+ }
            }

            /// Reads a command by its subject; an absent type means the current one.
            ///
            /// # Errors
            /// [`CommandError`]: unknown subject or type, or a body that does not fit.
            pub fn decode(
                role: &str,
                verb: &str,
                type_name: Option<&str>,
                body: &[u8],
            ) -> Result<Self, CommandError> {
                match (role, verb) {
                    $(($role, $verb) => {
                        match type_name {
                            None | Some($type_name) => {}
                            Some(found) => return Err(CommandError::UnknownType {
                                found: found.chars().take(128).collect(),
                                expected: $type_name,
                            }),
                        }
                        serde_json::from_slice(body).map(Self::$variant).map_err(|source| {
                            CommandError::Body { type_name: $type_name, source }
                        })
                    })+
                    _ => Err(CommandError::UnknownSubject {
                        role: role.chars().take(64).collect(),
                        verb: verb.chars().take(64).collect(),
                    }),
                }
            }

            /// Role, verb, type name, whether clients may send it, and the JSON Schema of the body:
            /// what docs/protocol.md is generated from.
            pub fn catalogue() -> Vec<CommandDoc> {
                vec![$(CommandDoc {
                    role: $role,
                    verb: $verb,
                    type_name: $type_name,
                    public: stringify!($visible) == "public",
                    schema: schemars::schema_for!($body),
                }),+]
            }
        }

        $(impl From<$body> for Command {
            fn from(body: $body) -> Self {
                Self::$variant(body)
            }
        })+
    };
}

/// One row of the catalogue.
#[derive(Clone, Debug)]
pub struct CommandDoc {
    /// First token of the subject after `cmd`.
    pub role: &'static str,
    /// The rest.
    pub verb: &'static str,
    /// Versioned type.
    pub type_name: &'static str,
    /// Whether clients may send it; the others are the platform's own.
    pub public: bool,
    /// JSON Schema of the body.
    pub schema: schemars::Schema,
}

/// Which of several verbs a command is; they share their body.
macro_rules! control {
    ($($(#[$doc:meta])* $name:ident($body:ident))+) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub $body);)+
    };
}

control! {
    /// `run.cancel`: stop it; what was generated is settled.
    CancelRun(ControlRun)
    /// `run.pause`: take no further step.
    PauseRun(ControlRun)
    /// `run.resume`: go on.
    ResumeRun(ControlRun)
    /// `tool.deprecate`: only those who name the version get it.
    DeprecateTool(RetireTool)
    /// `tool.remove`: no further run gets the version.
    RemoveTool(RetireTool)
}

commands! {
    /// Start an agent run.
    StartRun(StartRun) = "run" "start" "nexus.run.start.v1" public,
    /// Stop it; what was generated is settled.
    CancelRun(CancelRun) = "run" "cancel" "nexus.run.cancel.v1" public,
    /// Take no further step.
    PauseRun(PauseRun) = "run" "pause" "nexus.run.pause.v1" public,
    /// Go on.
    ResumeRun(ResumeRun) = "run" "resume" "nexus.run.resume.v1" public,
    /// Tell a running run something.
    SignalRun(SignalRun) = "run" "signal" "nexus.run.signal.v1" public,
    /// Say what became of a tool call that is in doubt.
    ResolveTool(ResolveTool) = "run" "resolve" "nexus.run.resolve.v1" public,
    /// A step's time is over.
    EndOfTime(EndOfTime) = "run" "deadline" "nexus.run.deadline.v1" internal,
    /// Open a conversation.
    OpenSession(OpenSession) = "session" "open" "nexus.session.open.v1" public,
    /// Close a conversation.
    CloseSession(CloseSession) = "session" "close" "nexus.session.close.v1" public,
    /// Let the next run of a conversation begin.
    NextRun(NextRun) = "session" "next" "nexus.session.next.v1" internal,
    /// Set limits.
    SetLimits(SetLimits) = "budget" "set" "nexus.budget.set.v1" public,
    /// Give one who waits what he waits for.
    GrantBudget(GrantBudget) = "budget" "grant" "nexus.budget.grant.v1" public,
    /// Say no to one who waits.
    RefuseBudget(RefuseBudget) = "budget" "refuse" "nexus.budget.refuse.v1" public,
    /// Hold budget for spending outside.
    HoldBudget(HoldBudget) = "budget" "hold" "nexus.budget.hold.v1" public,
    /// Account for what a hold spent.
    ReleaseBudget(ReleaseBudget) = "budget" "release" "nexus.budget.release.v1" public,
    /// Hold what a step may spend.
    Reserve(Reserve) = "budget" "reserve" "nexus.budget.reserve.v1" internal,
    /// Account for what it spent.
    Settle(Settle) = "budget" "settle" "nexus.budget.settle.v1" internal,
    /// A run is no longer in flight.
    EndRun(EndRun) = "budget" "end" "nexus.budget.end.v1" internal,
    /// Return what was held too long.
    ExpireReservations(ExpireReservations) = "budget" "expire" "nexus.budget.expire.v1" internal,
    /// Answer a question of policy.
    DecideApproval(DecideApproval) = "approval" "decide" "nexus.approval.decide.v1" public,
    /// Time has passed without an answer.
    RingApproval(RingApproval) = "approval" "ring" "nexus.approval.ring.v1" internal,
    /// Judge a run's next step.
    EvaluatePolicy(EvaluatePolicy) = "policy" "evaluate" "nexus.policy.evaluate.v1" internal,
    /// Publish a bundle.
    PublishBundle(PublishBundle) = "policy" "publish" "nexus.policy.publish.v1" public,
    /// Decide by a bundle.
    ActivateBundle(ActivateBundle) = "policy" "activate" "nexus.policy.activate.v1" public,
    /// Ask a bundle beside the active one.
    ShadowBundle(ShadowBundle) = "policy" "shadow" "nexus.policy.shadow.v1" public,
    /// Decide by the bundle before this one.
    RollBackBundle(RollBackBundle) = "policy" "rollback" "nexus.policy.rollback.v1" public,
    /// Decide on an input, without effect.
    TryPolicy(TryPolicy) = "policy" "try" "nexus.policy.try.v1" public,
    /// Say why a run's steps were judged as they were.
    ExplainPolicy(ExplainPolicy) = "policy" "explain" "nexus.policy.explain.v1" public,
    /// Make recorded decisions again by another bundle.
    BacktestPolicy(BacktestPolicy) = "policy" "backtest" "nexus.policy.backtest.v1" public,
    /// Let a key be used.
    CreateKey(CreateKey) = "key" "create" "nexus.key.create.v1" public,
    /// Give it another secret.
    RotateKey(RotateKey) = "key" "rotate" "nexus.key.rotate.v1" public,
    /// Let it be used no more.
    RevokeKey(RevokeKey) = "key" "revoke" "nexus.key.revoke.v1" public,
    /// Deliver events to a receiver.
    CreateWebhook(CreateWebhook) = "webhook" "create" "nexus.webhook.create.v1" public,
    /// Deliver them somewhere else, or others.
    UpdateWebhook(UpdateWebhook) = "webhook" "update" "nexus.webhook.update.v1" public,
    /// Sign with another secret.
    RotateWebhook(RotateWebhook) = "webhook" "rotate" "nexus.webhook.rotate.v1" public,
    /// Go on delivering.
    EnableWebhook(EnableWebhook) = "webhook" "enable" "nexus.webhook.enable.v1" public,
    /// Deliver nothing for now.
    DisableWebhook(DisableWebhook) = "webhook" "disable" "nexus.webhook.disable.v1" public,
    /// Deliver again from an earlier place, or try at once.
    RewindWebhook(RewindWebhook) = "webhook" "rewind" "nexus.webhook.rewind.v1" public,
    /// Be done with it.
    DeleteWebhook(DeleteWebhook) = "webhook" "delete" "nexus.webhook.delete.v1" public,
    /// Deliver a message of no meaning, once.
    TestWebhook(TestWebhook) = "webhook" "test" "nexus.webhook.test.v1" public,
    /// Call a model.
    CallModel(CallModel) = "llm" "call" "nexus.llm.call.v1" internal,
    /// Register a version of a tool.
    RegisterTool(RegisterTool) = "tool" "register" "nexus.tool.register.v1" public,
    /// Register tools of an MCP server.
    ImportTools(ImportTools) = "tool" "import" "nexus.tool.import.v1" public,
    /// Give a version only to those who name it.
    DeprecateTool(DeprecateTool) = "tool" "deprecate" "nexus.tool.deprecate.v1" public,
    /// Give a version to no further run.
    RemoveTool(RemoveTool) = "tool" "remove" "nexus.tool.remove.v1" public,
    /// Execute a tool call.
    ExecuteTool(ExecuteTool) = "tool" "execute" "nexus.tool.execute.v1" internal,
}

/// A command that is due because of what was recorded. Its id derives from its cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Its id, the same on every replay.
    pub id: CommandId,
    /// The command.
    pub command: Command,
    /// Who caused it, for policy and audit further on.
    pub actor: Option<Actor>,
    /// When it is to be delivered: by a timer on the bus; at once where absent.
    pub at: Option<Timestamp>,
}
