//! A run's state: a fold of its events. Each step that is due remembers the commit that made it so
//! (`since`), which is how a process manager knows what a commit caused without asking anyone.

use super::event::{
    LlmCompleted, PolicyDecided, PolicyPoint, ReservationGranted, RunEvent, RunStarted,
};
use crate::aggregate::{Aggregate, AggregateKind, Position};
use crate::body::Body;
use crate::ids::{ReservationId, RunId};
use crate::ledger::Amounts;
use crate::model::{ToolCall, Usage};
use crate::time::Timestamp;

/// The state of one run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// How it began; none before it did.
    pub started: Option<Started>,
    /// How far it is.
    pub status: Status,
    /// Takes no further step.
    pub paused: bool,
    /// The turn that is going, from 1.
    pub turn: u32,
    /// Reservations that lapsed in this turn.
    pub lapses: u32,
    /// What comes next, or is going on.
    pub step: Step,
    /// What is held for the model call that is due or going on, until it is settled.
    pub grant: Option<ReservationGranted>,
    /// What was said, in order.
    pub entries: Vec<Entry>,
    /// What was said meanwhile; the model sees it at the next turn.
    pub signals: Vec<Body>,
    /// Settlements that the last model calls made due.
    pub settling: Vec<Settling>,
    /// Tokens of all model calls.
    pub usage: Usage,
    /// Cost of all model calls.
    pub cost_usd_micros: u64,
    /// Model calls and tools together.
    pub work_ms: u64,
    known_context_tokens: u64,
    new_context_bytes: u64,
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
/// paused: then no command for it is under way.
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
    /// The ledger holds what the model call may spend.
    Reserve {
        /// The commit that made it due.
        since: Option<u64>,
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
}

/// How far a tool call is.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolPhase {
    /// Policy judges it.
    Judge,
    /// It may be executed.
    Ready {
        /// The commit that made it due.
        since: Option<u64>,
    },
    /// It was started this often and has no outcome.
    Started {
        /// How often.
        attempts: u32,
    },
    /// What the model is told.
    Done(Body),
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

/// A settlement that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// What was spent.
    pub spent: Amounts,
    /// The commit that made it due.
    pub since: u64,
}

impl Run {
    /// How the run began.
    pub fn info(&self) -> Option<&RunStarted> {
        self.started.as_ref().map(|started| &started.event)
    }

    /// Bound from above on the tokens of the conversation so far: what the provider counted last,
    /// and every byte since as a token (byte-level tokenizers never make more tokens than bytes).
    pub fn context_tokens(&self) -> u64 {
        self.known_context_tokens
            .saturating_add(self.new_context_bytes)
    }

    /// What policy has to judge now, in order.
    pub fn points_to_judge(&self) -> Vec<PolicyPoint> {
        let turn = self.turn;
        match &self.step {
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

    /// A tool call of the turn that is going.
    pub fn tool_step(&self, turn: u32, call_id: &str) -> Option<&ToolStep> {
        match &self.step {
            Step::Tools { calls, .. } if turn == self.turn => {
                calls.iter().find(|step| step.call.id == call_id)
            }
            _ => None,
        }
    }

    /// The answer: what the model said last.
    pub fn output(&self) -> Option<&Body> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Assistant { text, .. } => Some(text),
            _ => None,
        })
    }

    fn since(&self, seq: u64) -> Option<u64> {
        (!self.paused).then_some(seq)
    }

    fn say(&mut self, entry: Entry) {
        // Roles, separators and names cost a few tokens a message in every chat template.
        const ENVELOPE_BYTES: u64 = 16;
        let bytes = match &entry {
            Entry::User(text) | Entry::Tool { text, .. } => text.len_bytes(),
            // Counted by the provider, in the usage beside it.
            Entry::Assistant { .. } => 0,
        };
        self.new_context_bytes = self
            .new_context_bytes
            .saturating_add(bytes.saturating_add(ENVELOPE_BYTES));
        self.entries.push(entry);
    }

    fn next_turn(&mut self, seq: u64) {
        for signal in std::mem::take(&mut self.signals) {
            self.say(Entry::User(signal));
        }
        self.turn += 1;
        self.lapses = 0;
        self.step = Step::Judge {
            since: self.since(seq),
            start: false,
        };
    }

    fn end(&mut self, status: Status) {
        self.status = status;
        self.step = Step::Idle;
    }

    fn start(&mut self, event: &RunStarted, at: Position) {
        let overhead = super::prompt_overhead_bytes(&event.agent, &event.tools);
        self.known_context_tokens = event
            .session
            .previous
            .map_or(0, |previous| previous.context_tokens);
        self.new_context_bytes = overhead;
        self.say(Entry::User(event.input.clone()));
        self.status = Status::Pending;
        self.turn = 1;
        self.step = Step::Judge {
            since: self.since(at.seq),
            start: true,
        };
        self.started = Some(Started {
            event: event.clone(),
            first_seq: at.seq,
            at: at.time,
        });
    }

    fn judged(&mut self, decided: &PolicyDecided, seq: u64) {
        let since = self.since(seq);
        match &decided.point {
            PolicyPoint::RunStart if decided.allowed => {
                self.status = Status::Running;
                self.step = Step::Judge {
                    since,
                    start: false,
                };
            }
            PolicyPoint::LlmCall { .. } if decided.allowed => {
                self.step = Step::Reserve { since };
            }
            // `RunFailed` follows in the same commit.
            PolicyPoint::RunStart | PolicyPoint::LlmCall { .. } => {}
            PolicyPoint::ToolCall { turn, call_id } => {
                let phase = if decided.allowed {
                    ToolPhase::Ready { since }
                } else {
                    let reasons = decided.reasons.join("; ");
                    ToolPhase::Done(format!("error: denied by policy: {reasons}").into())
                };
                self.tool(*turn, call_id, phase, seq);
            }
        }
    }

    fn answered(&mut self, done: &LlmCompleted, seq: u64) {
        self.charge(&done.usage, done.cost_usd_micros, done.duration_ms, seq);
        self.known_context_tokens = done.usage.total_tokens();
        self.new_context_bytes = 0;
        self.say(Entry::Assistant {
            text: done.text.clone(),
            tool_calls: done.tool_calls.clone(),
        });
        if done.tool_calls.is_empty() {
            // `RunCompleted` follows in the same commit, unless somebody spoke meanwhile.
            if !self.signals.is_empty() {
                self.next_turn(seq);
            }
        } else {
            let calls = (done.tool_calls.iter().cloned())
                .map(|call| ToolStep {
                    call,
                    phase: ToolPhase::Judge,
                })
                .collect();
            self.step = Step::Tools {
                since: self.since(seq),
                calls,
            };
        }
    }

    /// Takes what a call used into the sums, and makes its settlement due.
    fn charge(&mut self, usage: &Usage, cost_usd_micros: u64, duration_ms: u64, seq: u64) {
        self.usage.input_tokens += usage.input_tokens;
        self.usage.output_tokens += usage.output_tokens;
        self.usage.cached_input_tokens += usage.cached_input_tokens;
        self.usage.estimated |= usage.estimated;
        self.cost_usd_micros = self.cost_usd_micros.saturating_add(cost_usd_micros);
        self.work_ms = self.work_ms.saturating_add(duration_ms);
        self.settle(
            crate::command::charged(usage, cost_usd_micros, duration_ms),
            seq,
        );
    }

    /// Makes the settlement of what is held due.
    fn settle(&mut self, spent: Amounts, seq: u64) {
        let Some(grant) = self.grant.take() else {
            return;
        };
        // The call before the last was settled long ago: nothing comes after it otherwise.
        if self.settling.len() > 1 {
            self.settling.remove(0);
        }
        let reservation_id = grant.reservation_id;
        self.settling.push(Settling {
            reservation_id,
            spent,
            since: seq,
        });
    }

    fn tool(&mut self, turn: u32, call_id: &str, phase: ToolPhase, seq: u64) {
        let Step::Tools { calls, .. } = &mut self.step else {
            return;
        };
        if turn != self.turn {
            return;
        }
        if let Some(step) = calls.iter_mut().find(|step| step.call.id == call_id) {
            step.phase = phase;
        }
        if !calls
            .iter()
            .all(|step| matches!(step.phase, ToolPhase::Done(_)))
        {
            return;
        }
        for step in std::mem::take(calls) {
            if let ToolPhase::Done(text) = step.phase {
                self.say(Entry::Tool {
                    call_id: step.call.id,
                    name: step.call.name,
                    text,
                });
            }
        }
        self.next_turn(seq);
    }

    fn resume(&mut self, seq: u64) {
        self.paused = false;
        let wake = |since: &mut Option<u64>| {
            since.get_or_insert(seq);
        };
        match &mut self.step {
            Step::Idle => {}
            Step::Judge { since, .. } | Step::Reserve { since } | Step::Call { since } => {
                wake(since);
            }
            Step::Tools { since, calls } => {
                wake(since);
                for step in calls {
                    if let ToolPhase::Ready { since } = &mut step.phase {
                        wake(since);
                    }
                }
            }
        }
    }
}

impl Aggregate for Run {
    const KIND: AggregateKind = AggregateKind::Run;
    type Event = RunEvent;

    fn evolve(&mut self, event: &RunEvent, at: Position) {
        let seq = at.seq;
        match event {
            RunEvent::RunStarted(started) => self.start(started, at),
            RunEvent::PolicyDecided(decided) => self.judged(decided, seq),
            RunEvent::ReservationGranted(grant) => {
                self.grant = Some(grant.clone());
                self.step = Step::Call {
                    since: self.since(seq),
                };
            }
            // `RunFailed` follows in the same commit.
            RunEvent::ReservationRefused(_) => {}
            RunEvent::ReservationLapsed(_) => {
                self.settle(Amounts::default(), seq);
                self.lapses += 1;
                self.step = Step::Reserve {
                    since: self.since(seq),
                };
            }
            RunEvent::LlmCompleted(done) => self.answered(done, seq),
            RunEvent::LlmFailed(failed) => {
                self.charge(
                    &failed.usage,
                    failed.cost_usd_micros,
                    failed.duration_ms,
                    seq,
                );
            }
            RunEvent::LlmAborted(aborted) => {
                self.charge(
                    &aborted.usage,
                    aborted.cost_usd_micros,
                    aborted.duration_ms,
                    seq,
                );
            }
            RunEvent::ToolStarted(started) => {
                let phase = ToolPhase::Started {
                    attempts: started.attempt,
                };
                self.tool(started.turn, &started.call_id, phase, seq);
            }
            RunEvent::ToolCompleted(done) => {
                self.work_ms = self.work_ms.saturating_add(done.duration_ms);
                self.tool(
                    done.turn,
                    &done.call_id,
                    ToolPhase::Done(done.output.clone()),
                    seq,
                );
            }
            RunEvent::ToolFailed(failed) => {
                self.work_ms = self.work_ms.saturating_add(failed.duration_ms);
                let told = format!("error: {}", failed.message);
                self.tool(
                    failed.turn,
                    &failed.call_id,
                    ToolPhase::Done(told.into()),
                    seq,
                );
            }
            RunEvent::RunSignalled(signal) => self.signals.push(signal.input.clone()),
            RunEvent::RunPaused(_) => self.paused = true,
            RunEvent::RunResumed(_) => self.resume(seq),
            RunEvent::RunCompleted(_) => self.end(Status::Completed),
            RunEvent::RunFailed(_) => self.end(Status::Failed),
            RunEvent::RunCancelled(_) => self.end(Status::Cancelled),
        }
    }
}

/// The id of the reservation for a run's turn.
pub fn reservation_id(run_id: RunId, turn: u32, lapses: u32) -> ReservationId {
    ReservationId::derive(&[&run_id.to_string(), &turn.to_string(), &lapses.to_string()])
}
