//! How each event moves a run. It never refuses: what was recorded is so. But a run that has ended
//! stays ended, whatever follows.

use super::event::{LlmCompleted, PolicyDecided, PolicyPoint, RunEvent, RunStarted};
use super::prompt;
use super::state::{Entry, Run, Settling, Started, Status, Step, Told, ToolPhase, ToolStep};
use crate::aggregate::{Aggregate, AggregateKind, Position};
use crate::ledger::Amounts;
use crate::model::Usage;

impl Run {
    fn since(&self, seq: u64) -> Option<u64> {
        (!self.paused).then_some(seq)
    }

    /// Takes what was said; its tokens where they were counted, else its bytes bound them.
    fn say(&mut self, entry: Entry, tokens: Option<u64>) {
        // Roles, separators and names cost a few tokens a message in every chat template.
        const ENVELOPE_TOKENS: u64 = 16;
        let tokens = tokens.unwrap_or_else(|| match &entry {
            Entry::User(text) | Entry::Tool { text, .. } => text.len_bytes(),
            // Counted by the provider, in the usage beside it.
            Entry::Assistant { .. } => 0,
        });
        self.new_context_tokens = self
            .new_context_tokens
            .saturating_add(tokens.saturating_add(ENVELOPE_TOKENS));
        self.entries.push(entry);
    }

    fn next_turn(&mut self, seq: u64) {
        for signal in std::mem::take(&mut self.signals) {
            self.say(Entry::User(signal.input), signal.tokens);
        }
        self.turn += 1;
        self.lapses = 0;
        self.step = Step::Judge {
            since: self.since(seq),
            start: false,
        };
    }

    fn end(&mut self, status: Status, seq: u64) {
        self.status = status;
        match self.step {
            // The call is under way, or its command is about to be: whoever handles it says what it
            // used, and settles.
            Step::Call { since: Some(_) } if self.grant.is_some() => return,
            // Nobody will call: what is held goes back now.
            Step::Call { since: None } => self.settle(Amounts::default(), seq),
            _ => {}
        }
        self.step = Step::Idle;
    }

    /// What can still come after the end: word of the call that was under way. Nothing else moves a
    /// run that has ended.
    fn after_end(&mut self, event: &RunEvent, seq: u64) {
        match event {
            RunEvent::LlmAborted(aborted) => self.charge(
                &aborted.usage,
                aborted.cost_usd_micros,
                aborted.duration_ms,
                seq,
            ),
            RunEvent::ReservationLapsed(_) => self.settle(Amounts::default(), seq),
            _ => return,
        }
        self.step = Step::Idle;
    }

    fn start(&mut self, event: &RunStarted, at: Position) {
        self.known_context_tokens = event
            .session
            .previous
            .map_or(0, |previous| previous.context_tokens);
        self.new_context_tokens = prompt::first_tokens(event);
        self.entries.push(Entry::User(event.input.clone()));
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
        self.new_context_tokens = 0;
        let said = Entry::Assistant {
            text: done.text.clone(),
            tool_calls: done.tool_calls.clone(),
        };
        self.say(said, None);
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
        let sum = &mut self.usage;
        sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
        sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
        sum.cached_input_tokens = sum
            .cached_input_tokens
            .saturating_add(usage.cached_input_tokens);
        sum.estimated |= usage.estimated;
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
            if let ToolPhase::Done(told) = step.phase {
                let said = Entry::Tool {
                    call_id: step.call.id,
                    name: step.call.name,
                    text: told.text,
                };
                self.say(said, told.tokens);
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
        if self.status.is_terminal() {
            return self.after_end(event, seq);
        }
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
                let told = Told {
                    text: done.output.clone(),
                    tokens: done.tokens,
                };
                self.tool(done.turn, &done.call_id, ToolPhase::Done(told), seq);
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
            RunEvent::RunSignalled(signal) => self.signals.push(signal.clone()),
            RunEvent::RunPaused(_) => self.paused = true,
            RunEvent::RunResumed(_) => self.resume(seq),
            RunEvent::RunCompleted(_) => self.end(Status::Completed, seq),
            RunEvent::RunFailed(_) => self.end(Status::Failed, seq),
            RunEvent::RunCancelled(_) => self.end(Status::Cancelled, seq),
        }
    }
}
