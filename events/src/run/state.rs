//! A run's state: a fold of its events. Each step that is due remembers the commit that made it so
//! (`since`), which is how a process manager knows what a commit caused without asking anyone.

use std::collections::BTreeMap;

use super::event::{
    ApprovalRequested, EarlierCall, Given, PolicyPoint, ReservationGranted, RunSignalled,
    RunStarted,
};
use super::failover::FailedCall;
use super::summary::Summary;
use crate::body::Body;
use crate::catalog::{Catalog, ModelInfo};
use crate::ids::{ApprovalId, ReservationId, RunId};
use crate::ledger::Amounts;
use crate::model::{ToolCall, Usage};
use crate::policy::Obligations;
use crate::time::Timestamp;
use crate::tool::ToolPin;

/// The state of one run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// How it began; none before it did.
    pub started: Option<Started>,
    /// How far it is.
    pub status: Status,
    /// Takes no further step.
    pub paused: bool,
    /// It waits for its turn in its session, or ended before that came.
    pub queued: bool,
    /// Another run of its session waits for its end.
    pub awaited: bool,
    /// The commit with which it ended, where its session is to be told.
    pub makes_way: Option<u64>,
    /// The turn that is going, from 1.
    pub turn: u32,
    /// How often the turn's model call asked the ledger anew: what was held lapsed, a cheaper model
    /// was taken, or a call failed and is made again.
    pub round: u32,
    /// Calls of the turn that failed and are made again, in order.
    pub failed_calls: Vec<FailedCall>,
    /// The model that is called next.
    pub model: String,
    /// The ledger counts it among the runs in flight, as far as the run knows.
    pub in_flight: bool,
    /// What comes next, or is going on.
    pub step: Step,
    /// Questions to people that are open.
    pub approvals: BTreeMap<ApprovalId, Pending>,
    /// Questions that are not.
    pub answered: BTreeMap<ApprovalId, Answered>,
    /// People agreed to the start or the model call that is judged now.
    pub approved: Option<Approved>,
    /// What policy obliges the whole run to, since its start.
    pub duties: Obligations,
    /// What it obliges the turn's model call to.
    pub turn_duties: Obligations,
    /// What is held for the model call that is due or going on, until it is settled.
    pub grant: Option<ReservationGranted>,
    /// When the time that a budget left it is over.
    pub deadline: Option<Timestamp>,
    /// What was said, in order.
    pub entries: Vec<Entry>,
    /// What was said meanwhile; the model sees it at the next turn.
    pub signals: Vec<RunSignalled>,
    /// Settlements that model calls made due, one a call. All are kept: whoever died between a
    /// commit and its commands comes back for them, and the run may be turns further by then.
    pub settling: Vec<Settling>,
    /// Tokens of all model calls.
    pub usage: Usage,
    /// Cost of all model calls.
    pub cost_usd_micros: u64,
    /// Model calls and tools together.
    pub work_ms: u64,
    /// Results that identical calls may have, by [`call_digest`](super::call_digest).
    pub reusable: BTreeMap<String, Reusable>,
    /// Turns in a row in which the model called a tool wrongly.
    pub invalid_turns: InvalidTurns,
    /// What stands for the oldest part of the conversation.
    pub summary: Option<Summary>,
    /// Summaries that the turn made.
    pub summaries: u32,
    pub(super) known_context_tokens: u64,
    pub(super) new_context_tokens: u64,
}

/// How a run began.
#[derive(Clone, Debug)]
pub struct Started {
    /// The event.
    pub event: RunStarted,
    /// Sequence of the first commit.
    pub first_seq: u64,
    /// When.
    pub at: Timestamp,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It does not exist.
    #[default]
    Unborn,
    /// It waits for its turn in its session.
    Queued,
    /// Policy has not let it start yet.
    Pending,
    /// It takes turns.
    Running,
    /// It ended with an answer.
    Completed,
    /// It ended without one.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl Status {
    /// True for the three ends.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What comes next. `since` is the sequence of the commit that made it due; none while the run is
/// paused: then no command for it is under way. A run that ended is idle, but for a call that was
/// under way: that step stays until its usage is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Step {
    /// Nothing.
    #[default]
    Idle,
    /// Policy judges the start (`start`) and the next model call.
    Judge {
        /// The commit that made it due.
        since: Option<u64>,
        /// Whether the start is judged too.
        start: bool,
    },
    /// People are asked about the start or the next model call.
    Approve {
        /// Whether it is the start.
        start: bool,
    },
    /// The ledger holds what the model call may spend.
    Reserve {
        /// The commit that made it due.
        since: Option<u64>,
        /// The ledger makes it wait.
        parked: bool,
    },
    /// The model is called, with what [`Run::grant`] allows.
    Call {
        /// The commit that made it due.
        since: Option<u64>,
    },
    /// Tools are judged, then called.
    Tools {
        /// The commit that made the judgement due.
        since: Option<u64>,
        /// The calls of the turn.
        calls: Vec<ToolStep>,
    },
}

/// One tool call of the turn.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolStep {
    /// What the model asked for.
    pub call: ToolCall,
    /// How far it is.
    pub phase: ToolPhase,
    /// People agreed to it.
    pub approved: Option<Approved>,
    /// What policy obliges it to.
    pub duties: Obligations,
    /// How often it asked the ledger anew.
    pub round: u32,
    /// How often it was started.
    pub attempts: u32,
    /// What is held for it, until it is settled.
    pub grant: Option<ReservationGranted>,
    /// When the time that a budget left it is over.
    pub deadline: Option<Timestamp>,
}

impl ToolStep {
    /// A call that nobody has judged yet.
    pub fn new(call: ToolCall) -> Self {
        Self {
            call,
            phase: ToolPhase::Judge,
            approved: None,
            duties: Obligations::default(),
            round: 0,
            attempts: 0,
            grant: None,
            deadline: None,
        }
    }
}

/// How far a tool call is.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolPhase {
    /// Policy judges it.
    Judge,
    /// People are asked.
    Approve,
    /// The ledger holds what it may spend.
    Reserve {
        /// The commit that made it due.
        since: Option<u64>,
        /// The ledger makes it wait.
        parked: bool,
    },
    /// It may be executed.
    Ready {
        /// The commit that made it due.
        since: Option<u64>,
    },
    /// It was started this often and has no outcome.
    Started {
        /// How often.
        attempts: u32,
        /// When it was started last.
        at: Timestamp,
    },
    /// It may have taken effect or not: a person says which.
    InDoubt,
    /// What the model is told.
    Done(Told),
}

/// What a tool tells the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The text.
    pub text: Body,
    /// Its tokens, where they were counted.
    pub tokens: Option<u64>,
}

impl From<String> for Told {
    fn from(text: String) -> Self {
        let (text, tokens) = (text.into(), None);
        Self { text, tokens }
    }
}

/// A result that identical calls may have too.
#[derive(Clone, Debug, PartialEq)]
pub struct Reusable {
    /// The call that gave it.
    pub call: EarlierCall,
    /// What it gave.
    pub told: Told,
}

/// How often in a row the model called tools wrongly: the calls of one turn count once, since it
/// learns of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InvalidTurns {
    /// So many turns.
    pub count: u32,
    /// The last of them.
    pub last: u32,
}

/// A question to people that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// What was asked.
    pub asked: ApprovalRequested,
    /// Who may answer.
    pub roles: Vec<String>,
    /// Further roles were let in.
    pub escalated: bool,
    /// Who agreed so far.
    pub approvers: Vec<String>,
    /// The commit that asked.
    pub since: u64,
}

/// A question that is not open any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// `approved`, `denied`, `expired` or `void`.
    pub state: &'static str,
    /// Who answered.
    pub by: Vec<String>,
    /// About which step.
    pub point: PolicyPoint,
}

/// What people agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// The question.
    pub approval_id: ApprovalId,
    /// Who agreed.
    pub approvers: Vec<String>,
    /// To exactly this.
    pub subject: String,
    /// Under this bundle.
    pub bundle: String,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// By the person.
    User(Body),
    /// By the model.
    Assistant {
        /// The text.
        text: Body,
        /// The tools that it asked for.
        tool_calls: Vec<ToolCall>,
    },
    /// By a tool.
    Tool {
        /// The call that it answers.
        call_id: String,
        /// The tool.
        name: String,
        /// What it said.
        text: Body,
    },
}

impl Entry {
    /// Its bytes, which its tokens are fewer than.
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::User(text) | Self::Tool { text, .. } => text.len_bytes(),
            Self::Assistant { text, tool_calls } => {
                let calls = (tool_calls.iter())
                    .map(|call| (call.name.len() + call.arguments.to_string().len()) as u64);
                text.len_bytes().saturating_add(calls.sum())
            }
        }
    }
}

/// A settlement that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling {
    /// The reservation; none where a run ends that has nothing to settle.
    pub reservation_id: Option<ReservationId>,
    /// What was spent.
    pub spent: Amounts,
    /// The run ended with it.
    pub ends_run: bool,
    /// The commit that made it due.
    pub since: u64,
}

impl Run {
    /// How the run began.
    pub fn info(&self) -> Option<&RunStarted> {
        self.started.as_ref().map(|started| &started.event)
    }

    /// What its caller brought.
    pub fn given(&self) -> Option<&Given> {
        self.info()?.given.as_deref()
    }

    /// Whether the caller executes this tool.
    pub fn is_clients_tool(&self, name: &str) -> bool {
        self.given()
            .is_some_and(|given| given.client_tools.iter().any(|tool| tool == name))
    }

    /// Bound from above on the tokens of the conversation so far: what the provider counted last,
    /// and since then what was counted when it was recorded, or every byte as a token (byte-level
    /// tokenizers never make more tokens than bytes).
    pub fn context_tokens(&self) -> u64 {
        self.known_context_tokens
            .saturating_add(self.new_context_tokens)
    }

    /// Whether it is one call of a tool, and no model is called.
    pub fn invokes(&self) -> bool {
        self.info().is_some_and(|info| info.invoke.is_some())
    }

    /// Whether it makes vectors of texts, and nobody is talked to.
    pub fn embeds(&self) -> bool {
        self.given().is_some_and(|given| given.embedding.is_some())
    }

    /// A model as it may be called by this run.
    pub fn offered<'c>(&self, model: &str, catalog: &'c Catalog) -> Option<&'c ModelInfo> {
        match self.embeds() {
            true => catalog.embedders.get(model),
            false => catalog.get(model),
        }
    }

    /// What policy has to judge now, in order.
    pub fn points_to_judge(&self) -> Vec<PolicyPoint> {
        let turn = self.turn;
        match &self.step {
            Step::Judge { start: true, .. } if self.invokes() => vec![PolicyPoint::RunStart],
            Step::Judge { start: true, .. } => {
                vec![PolicyPoint::RunStart, PolicyPoint::LlmCall { turn }]
            }
            Step::Judge { start: false, .. } => vec![PolicyPoint::LlmCall { turn }],
            Step::Tools { calls, .. } => calls
                .iter()
                .filter(|step| step.phase == ToolPhase::Judge)
                .map(|step| PolicyPoint::ToolCall {
                    turn,
                    call_id: step.call.id.clone(),
                })
                .collect(),
            _ => vec![],
        }
    }

    /// How often people were asked about a step.
    pub fn questions(&self, point: &PolicyPoint) -> u32 {
        let open = self.approvals.values().map(|pending| &pending.asked.point);
        let closed = self.answered.values().map(|answered| &answered.point);
        open.chain(closed).filter(|asked| *asked == point).count() as u32
    }

    /// What people agreed to about a step that is judged now.
    pub fn approved(&self, point: &PolicyPoint) -> Option<&Approved> {
        match point {
            PolicyPoint::ToolCall { turn, call_id } => {
                self.tool_step(*turn, call_id)?.approved.as_ref()
            }
            PolicyPoint::RunStart | PolicyPoint::LlmCall { .. } => {
                let start = *point == PolicyPoint::RunStart;
                let judged = matches!(self.step, Step::Judge { start: due, .. } if due == start);
                self.approved.as_ref().filter(|_| judged)
            }
        }
    }

    /// A tool call of the turn that is going.
    pub fn tool_step(&self, turn: u32, call_id: &str) -> Option<&ToolStep> {
        match &self.step {
            Step::Tools { calls, .. } if turn == self.turn => {
                calls.iter().find(|step| step.call.id == call_id)
            }
            _ => None,
        }
    }

    /// The version of a tool that the run keeps; what ships with the platform where it began before
    /// runs kept any.
    pub fn pin(&self, tool: &str) -> Option<&ToolPin> {
        let info = self.info()?;
        (info.pins.get(tool)).or_else(|| {
            let pin = ToolPin::of_builtin(tool);
            pin.filter(|_| info.pins.is_empty())
        })
    }

    /// The answer: what the model said last.
    pub fn output(&self) -> Option<&Body> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Assistant { text, .. } => Some(text),
            _ => None,
        })
    }

    /// Every reservation that the run waits for.
    pub fn awaits(&self) -> Vec<ReservationId> {
        let Some(run_id) = self.info().map(|info| info.run_id) else {
            return vec![];
        };
        match &self.step {
            Step::Reserve { .. } => vec![reservation_id(run_id, self.turn, None, self.round)],
            Step::Tools { calls, .. } => (calls.iter())
                .filter(|step| matches!(step.phase, ToolPhase::Reserve { .. }))
                .map(|step| reservation_id(run_id, self.turn, Some(&step.call.id), step.round))
                .collect(),
            _ => vec![],
        }
    }

    /// Every reservation that it holds, or whose settlement it has made due.
    pub fn knows(&self) -> Vec<ReservationId> {
        let tools = match &self.step {
            Step::Tools { calls, .. } => calls.as_slice(),
            _ => &[],
        };
        let grants = self
            .grant
            .iter()
            .chain(tools.iter().filter_map(|step| step.grant.as_ref()));
        let settling = self
            .settling
            .iter()
            .filter_map(|settling| settling.reservation_id);
        grants
            .map(|grant| grant.reservation_id)
            .chain(settling)
            .collect()
    }
}

/// The id of the reservation for a step of a run's turn: its model call, or one of its tool calls.
pub fn reservation_id(
    run_id: RunId,
    turn: u32,
    call_id: Option<&str>,
    round: u32,
) -> ReservationId {
    let (run_id, turn, round) = (run_id.to_string(), turn.to_string(), round.to_string());
    match call_id {
        None => ReservationId::derive(&[&run_id, &turn, &round]),
        Some(call_id) => ReservationId::derive(&[&run_id, &turn, &round, "tool", call_id]),
    }
}
