//! How each event moves a run. It never refuses: what was recorded is so. But a run that has ended
//! stays ended, whatever follows.

use super::approval::subject_of;
use super::embed::TextsEmbedded;
use super::event::{
    ApprovalGranted, ApprovalRequested, LlmCompleted, PolicyDecided, PolicyPoint,
    ReservationGranted, ReservationLapsed, Resolution, RunEvent, RunParked, RunStarted,
    ToolInDoubt, ToolResolved,
};
use super::failover::FailedCall;
use super::in_session::RunDequeued;
use super::invalid::is_invalid_call;
use super::state::{
    Answered, Approved, Entry, InvalidTurns, Pending, Run, Settling, Started, Status, Step, Told,
    ToolPhase, ToolStep, reservation_id,
};
use super::summary::{ContextSummarised, Summary};
use super::{prompt, reuse};
use crate::aggregate::{Aggregate, AggregateKind, Position};
use crate::ids::{ApprovalId, ReservationId};
use crate::ledger::Amounts;
use crate::model::Usage;
use crate::policy::Obligations;
use crate::time::Timestamp;

/// How long after its time a step is ended from outside: whoever works on it ends it himself before,
/// and knows what it used.
const GRACE_MS: u64 = 2_000;

fn deadline(grant: &ReservationGranted, now: Timestamp) -> Option<Timestamp> {
    let after_ms = grant.amounts.time_ms.saturating_add(GRACE_MS);
    grant.time_limited.then(|| now.plus_millis(after_ms))
}

fn tool_spent(time_ms: u64) -> Amounts {
    Amounts {
        time_ms,
        tool_calls: 1,
        ..Amounts::default()
    }
}

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
        self.round = 0;
        self.summaries = 0;
        self.failed_calls.clear();
        self.turn_duties = Obligations::default();
        self.step = Step::Judge {
            since: self.since(seq),
            start: false,
        };
    }

    fn end(&mut self, status: Status, at: Position) {
        self.status = status;
        if self.awaited || self.queued {
            self.makes_way = Some(at.seq);
        }
        for id in self.approvals.keys().copied().collect::<Vec<_>>() {
            self.close(id, "void");
        }
        let waits = self.awaits();
        match std::mem::take(&mut self.step) {
            // The call is under way, or its command is about to be: whoever handles it says what it
            // used, and settles.
            call @ Step::Call { since: Some(_) } if self.grant.is_some() => {
                self.step = call;
                return;
            }
            // Nobody will call: what is held goes back now.
            Step::Call { since: None } => self.settle(Amounts::default(), at.seq),
            Step::Reserve { parked: true, .. } => {
                for id in waits {
                    self.settle_reservation(Some(id), Amounts::default(), at.seq);
                }
            }
            Step::Tools { calls, .. } => self.leave_tools(calls, at),
            _ => {}
        }
        self.leave_flight(at.seq);
    }

    /// What the turn's tools hold goes back, but for those that are at work: what comes of them is
    /// no longer waited for.
    fn leave_tools(&mut self, calls: Vec<ToolStep>, at: Position) {
        let (turn, run_id) = (self.turn, self.info().map(|info| info.run_id));
        for step in calls {
            let held = step.grant.map(|grant| grant.reservation_id);
            let spent = match step.phase {
                ToolPhase::Started { at: since, .. } => tool_spent(at.time.millis_since(since)),
                _ => Amounts::default(),
            };
            let waits =
                match (&step.phase, run_id) {
                    (ToolPhase::Reserve { parked: true, .. }, Some(run_id)) => Some(
                        reservation_id(run_id, turn, Some(&step.call.id), step.round),
                    ),
                    _ => None,
                };
            if let Some(id) = held.or(waits) {
                self.settle_reservation(Some(id), spent, at.seq);
            }
        }
    }

    /// The run ended: what it settles last says so, or a word of its own where there is nothing. All
    /// of it does, for it is handled in any order: what still waits for the run may be served because
    /// of the first, and brings the run into flight again.
    fn leave_flight(&mut self, seq: u64) {
        let mut says_so = false;
        for settling in self.settling.iter_mut().filter(|last| last.since == seq) {
            settling.ends_run = true;
            says_so = true;
        }
        if !says_so && self.in_flight {
            self.settle_reservation(None, Amounts::default(), seq);
        }
        self.in_flight = false;
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
        self.leave_flight(seq);
    }

    fn start(&mut self, event: &RunStarted, at: Position) {
        self.known_context_tokens = event
            .session
            .previous
            .map_or(0, |previous| previous.context_tokens);
        self.new_context_tokens = prompt::first_tokens(event);
        if event.input.len_bytes() > 0 {
            self.entries.push(Entry::User(event.input.clone()));
        }
        self.model = event.model.clone();
        self.turn = 1;
        if event.queued.is_some() {
            self.status = Status::Queued;
            self.queued = true;
        } else {
            self.is_to_be_judged(at.seq);
        }
        self.started = Some(Started {
            event: event.clone(),
            first_seq: at.seq,
            at: at.time,
        });
    }

    fn is_to_be_judged(&mut self, seq: u64) {
        self.status = Status::Pending;
        self.step = Step::Judge {
            since: self.since(seq),
            start: true,
        };
    }

    fn dequeued(&mut self, turn: &RunDequeued, seq: u64) {
        self.queued = false;
        self.awaited |= turn.awaited;
        self.known_context_tokens = turn.previous.map_or(0, |run| run.context_tokens);
        if let Some(started) = &mut self.started {
            started.event.session.previous = turn.previous;
        }
        self.is_to_be_judged(seq);
    }

    fn judged(&mut self, decided: &PolicyDecided, seq: u64) {
        if let Some(answered) = decided.void.and_then(|id| self.answered.get_mut(&id)) {
            answered.state = "void";
        }
        if decided.approval.is_some() {
            // `ApprovalRequested` follows in the same commit.
            return;
        }
        let since = self.since(seq);
        let duties = &decided.obligations;
        if decided.allowed
            && !matches!(decided.point, PolicyPoint::ToolCall { .. })
            && let Some(model) = &duties.model
        {
            self.model = model.clone();
        }
        match &decided.point {
            PolicyPoint::RunStart if decided.allowed => {
                self.status = Status::Running;
                self.duties = duties.clone();
                self.approved = None;
                self.step = match self.info().and_then(RunStarted::invoked) {
                    Some(call) => Step::Tools {
                        since,
                        calls: vec![ToolStep::new(call)],
                    },
                    None => Step::Judge {
                        since,
                        start: false,
                    },
                };
            }
            PolicyPoint::LlmCall { .. } if decided.allowed => {
                self.turn_duties = duties.clone();
                self.approved = None;
                self.step = Step::Reserve {
                    since,
                    parked: false,
                };
            }
            // `RunFailed` follows in the same commit.
            PolicyPoint::RunStart | PolicyPoint::LlmCall { .. } => {}
            PolicyPoint::ToolCall { turn, call_id } => {
                let phase = if decided.allowed {
                    ToolPhase::Reserve {
                        since,
                        parked: false,
                    }
                } else {
                    let reasons = decided.reasons.join("; ");
                    ToolPhase::Done(format!("error: denied by policy: {reasons}").into())
                };
                if let Some(step) = self.tool_step_mut(*turn, call_id) {
                    step.duties = duties.clone();
                }
                self.tool(*turn, call_id, phase, seq);
            }
        }
    }

    fn asked(&mut self, asked: &ApprovalRequested, seq: u64) {
        match &asked.point {
            PolicyPoint::ToolCall { turn, call_id } => {
                if let Some(step) = self.tool_step_mut(*turn, call_id) {
                    step.phase = ToolPhase::Approve;
                    step.approved = None;
                }
            }
            point => {
                self.approved = None;
                self.step = Step::Approve {
                    start: *point == PolicyPoint::RunStart,
                };
            }
        }
        let pending = Pending {
            asked: asked.clone(),
            roles: asked.roles.clone(),
            escalated: false,
            approvers: vec![],
            since: seq,
        };
        self.approvals.insert(asked.approval_id, pending);
    }

    fn agreed(&mut self, granted: &ApprovalGranted, seq: u64) {
        let id = granted.approval_id;
        let Some(pending) = self.approvals.get_mut(&id) else {
            return;
        };
        pending.approvers.push(granted.approver.clone());
        if granted.missing > 0 {
            return;
        }
        let Some(pending) = self.close(id, "approved") else {
            return;
        };
        let point = pending.asked.point;
        let approved = Some(Approved {
            approval_id: id,
            approvers: pending.approvers,
            // Of what it is now: an approver may have changed the arguments.
            subject: subject_of(self, &point),
            bundle: pending.asked.bundle,
        });
        let since = self.since(seq);
        match point {
            PolicyPoint::ToolCall { turn, call_id } => {
                if let Some(step) = self.tool_step_mut(turn, &call_id) {
                    step.phase = ToolPhase::Judge;
                    step.approved = approved;
                }
                if let Step::Tools { since: due, .. } = &mut self.step {
                    *due = since;
                }
            }
            point => {
                self.approved = approved;
                let start = point == PolicyPoint::RunStart;
                self.step = Step::Judge { since, start };
            }
        }
    }

    /// The answer to a question about a tool is told to the model; any other ends the run, by the
    /// event that follows in the same commit.
    fn declined(&mut self, id: ApprovalId, state: &'static str, words: &str, seq: u64) {
        let point = self.close(id, state).map(|pending| pending.asked.point);
        if let Some(PolicyPoint::ToolCall { turn, call_id }) = point {
            let told = format!("error: {words}").into();
            self.tool(turn, &call_id, ToolPhase::Done(told), seq);
        }
    }

    fn close(&mut self, id: ApprovalId, state: &'static str) -> Option<Pending> {
        let pending = self.approvals.remove(&id)?;
        let answered = Answered {
            state,
            by: pending.approvers.clone(),
            point: pending.asked.point.clone(),
        };
        self.answered.insert(id, answered);
        Some(pending)
    }

    fn answered(&mut self, done: &LlmCompleted, seq: u64) {
        self.charge(&done.usage, done.cost_usd_micros, done.duration_ms, seq);
        let said = Entry::Assistant {
            text: done.text.clone(),
            tool_calls: done.tool_calls.clone(),
        };
        if done.cached.is_some() {
            // No provider counted this prompt, nor what is said again.
            let bytes = said.len_bytes();
            self.say(said, Some(bytes));
        } else {
            self.known_context_tokens = done.usage.total_tokens();
            self.new_context_tokens = 0;
            self.say(said, None);
        }
        if done.tool_calls.is_empty() {
            // `RunCompleted` follows in the same commit, unless somebody spoke meanwhile.
            if !self.signals.is_empty() {
                self.next_turn(seq);
            }
        } else {
            let calls = (done.tool_calls.iter().cloned())
                .map(ToolStep::new)
                .collect();
            self.step = Step::Tools {
                since: self.since(seq),
                calls,
            };
        }
    }

    /// Takes what a call used into the sums, and makes its settlement due.
    /// The turn's call is still to be made; it is judged and reserved for anew.
    fn summarised(&mut self, done: &ContextSummarised, seq: u64) {
        let call = &done.call;
        self.charge(&call.usage, call.cost_usd_micros, call.duration_ms, seq);
        self.summary = Some(Summary {
            text: call.text.clone(),
            upto: done.upto,
        });
        self.known_context_tokens = done.context_tokens;
        self.new_context_tokens = 0;
        self.summaries += 1;
        self.round += 1;
        self.step = Step::Judge {
            since: self.since(seq),
            start: false,
        };
    }

    fn charge(&mut self, usage: &Usage, cost_usd_micros: u64, duration_ms: u64, seq: u64) {
        self.usage = self.usage.plus(*usage);
        self.cost_usd_micros = self.cost_usd_micros.saturating_add(cost_usd_micros);
        self.work_ms = self.work_ms.saturating_add(duration_ms);
        self.settle(
            crate::command::charged(usage, cost_usd_micros, duration_ms),
            seq,
        );
    }

    /// Makes the settlement of what is held for the model call due.
    fn settle(&mut self, spent: Amounts, seq: u64) {
        if let Some(grant) = self.grant.take() {
            self.settle_reservation(Some(grant.reservation_id), spent, seq);
        }
        self.deadline = None;
    }

    fn settle_reservation(
        &mut self,
        reservation_id: Option<ReservationId>,
        spent: Amounts,
        seq: u64,
    ) {
        self.settling.push(Settling {
            reservation_id,
            spent,
            ends_run: reservation_id.is_none(),
            since: seq,
        });
    }

    fn granted(&mut self, grant: &ReservationGranted, at: Position) {
        self.in_flight = true;
        let since = self.since(at.seq);
        let deadline = deadline(grant, at.time);
        match &grant.call_id {
            None => {
                self.grant = Some(grant.clone());
                self.deadline = deadline;
                self.step = Step::Call { since };
            }
            Some(call_id) => {
                if let Some(step) = self.tool_step_mut(grant.turn, call_id) {
                    step.grant = Some(grant.clone());
                    step.deadline = deadline;
                    step.phase = ToolPhase::Ready { since };
                }
            }
        }
    }

    fn lapsed(&mut self, lapsed: &ReservationLapsed, seq: u64) {
        let since = self.since(seq);
        let parked = false;
        match &lapsed.call_id {
            None => {
                self.settle(Amounts::default(), seq);
                self.round += 1;
                self.step = Step::Reserve { since, parked };
            }
            Some(call_id) => {
                let Some(step) = self.tool_step_mut(lapsed.turn, call_id) else {
                    return;
                };
                step.round += 1;
                step.phase = ToolPhase::Reserve { since, parked };
                let held = step.grant.take().map(|grant| grant.reservation_id);
                if held.is_some() {
                    self.settle_reservation(held, Amounts::default(), seq);
                }
            }
        }
    }

    fn parked(&mut self, word: &RunParked) {
        match (&word.call_id, &mut self.step) {
            (None, Step::Reserve { parked, .. }) => *parked = true,
            (Some(call_id), _) => {
                if let Some(ToolStep {
                    phase: ToolPhase::Reserve { parked, .. },
                    ..
                }) = self.tool_step_mut(word.turn, call_id)
                {
                    *parked = true;
                }
            }
            _ => {}
        }
    }

    fn tool_step_mut(&mut self, turn: u32, call_id: &str) -> Option<&mut ToolStep> {
        match &mut self.step {
            Step::Tools { calls, .. } if turn == self.turn => {
                calls.iter_mut().find(|step| step.call.id == call_id)
            }
            _ => None,
        }
    }

    /// Records what a tool said, and settles what it spent.
    fn tool_done(&mut self, turn: u32, call_id: &str, told: Told, spent: Amounts, seq: u64) {
        self.work_ms = self.work_ms.saturating_add(spent.time_ms);
        let held = self
            .tool_step_mut(turn, call_id)
            .and_then(|step| step.grant.take());
        if let Some(grant) = held {
            self.settle_reservation(Some(grant.reservation_id), spent, seq);
        }
        self.tool(turn, call_id, ToolPhase::Done(told), seq);
    }

    /// Nobody knows whether it took effect: what it may have spent is settled, and a person is
    /// waited for. Holding it on would only block others, for as long as nobody answers.
    fn in_doubt(&mut self, doubt: &ToolInDoubt, seq: u64) {
        let held =
            (self.tool_step_mut(doubt.turn, &doubt.call_id)).and_then(|step| step.grant.take());
        if let Some(grant) = held {
            let spent = tool_spent(doubt.duration_ms);
            self.settle_reservation(Some(grant.reservation_id), spent, seq);
        }
        if let Some(step) = self.tool_step_mut(doubt.turn, &doubt.call_id) {
            step.phase = ToolPhase::InDoubt;
            step.deadline = None;
        }
    }

    fn resolved(&mut self, resolved: &ToolResolved, seq: u64) {
        let told = match resolved.resolution {
            Resolution::Done => Told {
                text: resolved.output.clone().unwrap_or_default(),
                tokens: resolved.tokens,
            },
            Resolution::Failed => {
                let reason = resolved.reason.as_deref();
                let reason = reason.unwrap_or("it was broken off and took no effect");
                format!("error: {reason}").into()
            }
            Resolution::Retry => {
                let since = self.since(seq);
                if let Some(step) = self.tool_step_mut(resolved.turn, &resolved.call_id) {
                    // As if it had never been held: what it spends now is asked for anew.
                    step.round += 1;
                    step.phase = ToolPhase::Reserve {
                        since,
                        parked: false,
                    };
                }
                return;
            }
        };
        let done = ToolPhase::Done(told);
        self.tool(resolved.turn, &resolved.call_id, done, seq);
    }

    /// Counts turns in a row in which a tool was called wrongly.
    fn called_wrongly(&mut self, turn: u32) {
        if self.invalid_turns.last != turn {
            self.invalid_turns.count += 1;
            self.invalid_turns.last = turn;
        }
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

    fn resume(&mut self, at: Position) {
        self.paused = false;
        let wake = |since: &mut Option<u64>| {
            let slept = since.is_none();
            since.get_or_insert(at.seq);
            slept
        };
        // A step that slept has the whole of its time before it.
        let anew = |grant: &Option<ReservationGranted>| deadline(grant.as_ref()?, at.time);
        match &mut self.step {
            Step::Idle | Step::Approve { .. } => {}
            Step::Judge { since, .. } | Step::Reserve { since, .. } => {
                wake(since);
            }
            Step::Call { since } => {
                if wake(since) {
                    self.deadline = anew(&self.grant);
                }
            }
            Step::Tools { since, calls } => {
                wake(since);
                for step in calls {
                    match &mut step.phase {
                        ToolPhase::Reserve { since, .. } => {
                            wake(since);
                        }
                        ToolPhase::Ready { since } => {
                            let slept = wake(since);
                            if slept {
                                step.deadline = anew(&step.grant);
                            }
                        }
                        _ => {}
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
            RunEvent::ReservationGranted(grant) => self.granted(grant, at),
            RunEvent::ApprovalRequested(asked) => self.asked(asked, seq),
            RunEvent::ApprovalGranted(granted) => self.agreed(granted, seq),
            RunEvent::ApprovalDenied(denied) => {
                if let Some(pending) = self.approvals.get_mut(&denied.approval_id) {
                    pending.approvers = vec![denied.approver.clone()];
                }
                self.declined(denied.approval_id, "denied", &denied.words(), seq);
            }
            RunEvent::ApprovalExpired(expired) => {
                let words = "nobody approved it in time";
                self.declined(expired.approval_id, "expired", words, seq);
            }
            RunEvent::ApprovalEscalated(escalated) => {
                if let Some(pending) = self.approvals.get_mut(&escalated.approval_id) {
                    pending.escalated = true;
                    pending.roles.extend(escalated.roles.iter().cloned());
                }
            }
            RunEvent::ToolArgumentsChanged(changed) => {
                if let Some(step) = self.tool_step_mut(changed.turn, &changed.call_id) {
                    step.call.arguments = changed.arguments.clone();
                }
            }
            RunEvent::RunParked(parked) => self.parked(parked),
            RunEvent::ModelDowngraded(change) => {
                self.model = change.to.clone();
                self.round += 1;
                self.step = Step::Judge {
                    since: self.since(seq),
                    start: false,
                };
            }
            RunEvent::ModelSwitched(switch) => self.model = switch.to.clone(),
            // What follows from it is in the same commit: a cheaper model, or the end.
            RunEvent::ReservationRefused(_) => {}
            RunEvent::ReservationLapsed(lapsed) => self.lapsed(lapsed, seq),
            RunEvent::LlmCompleted(done) => self.answered(done, seq),
            RunEvent::ContextSummarised(done) => self.summarised(done, seq),
            // `RunCompleted` follows in the same commit.
            RunEvent::TextsEmbedded(TextsEmbedded { call, .. }) => {
                self.charge(&call.usage, call.cost_usd_micros, call.duration_ms, seq);
            }
            RunEvent::LlmFailed(failed) => {
                self.charge(
                    &failed.usage,
                    failed.cost_usd_micros,
                    failed.duration_ms,
                    seq,
                );
                if failed.again.is_some() {
                    self.failed_calls
                        .push(FailedCall::of(failed, self.model.clone()));
                    // Whatever was held is settled: the next call is judged and reserved for anew.
                    self.round += 1;
                    self.step = Step::Judge {
                        since: self.since(seq),
                        start: false,
                    };
                }
            }
            RunEvent::LlmAborted(aborted) => {
                self.charge(
                    &aborted.usage,
                    aborted.cost_usd_micros,
                    aborted.duration_ms,
                    seq,
                );
            }
            RunEvent::ToolInDoubt(doubt) => self.in_doubt(doubt, seq),
            RunEvent::ToolResolved(resolved) => self.resolved(resolved, seq),
            RunEvent::ToolStarted(started) => {
                if let Some(step) = self.tool_step_mut(started.turn, &started.call_id) {
                    step.attempts = started.attempt;
                }
                let phase = ToolPhase::Started {
                    attempts: started.attempt,
                    at: at.time,
                };
                self.tool(started.turn, &started.call_id, phase, seq);
            }
            RunEvent::ToolCompleted(done) => {
                self.invalid_turns = InvalidTurns::default();
                reuse::keep(self, done);
                let told = Told {
                    text: done.output.clone(),
                    tokens: done.tokens,
                };
                let spent = match done.reused {
                    Some(_) => Amounts::default(),
                    None => tool_spent(done.duration_ms),
                };
                self.tool_done(done.turn, &done.call_id, told, spent, seq);
            }
            RunEvent::ToolFailed(failed) => {
                if is_invalid_call(&failed.code) {
                    self.called_wrongly(failed.turn);
                }
                let told = format!("error: {}", failed.message).into();
                let spent = tool_spent(failed.duration_ms);
                self.tool_done(failed.turn, &failed.call_id, told, spent, seq);
            }
            RunEvent::RunDequeued(turn) => self.dequeued(turn, seq),
            RunEvent::RunAwaited(_) => self.awaited = true,
            // The end follows in the same commit.
            RunEvent::RunTakenBack(_) => {}
            RunEvent::RunSignalled(signal) => self.signals.push(signal.clone()),
            RunEvent::RunPaused(_) => self.paused = true,
            RunEvent::RunResumed(_) => self.resume(at),
            RunEvent::RunCompleted(_) => self.end(Status::Completed, at),
            RunEvent::RunFailed(_) => self.end(Status::Failed, at),
            RunEvent::RunCancelled(_) => self.end(Status::Cancelled, at),
        }
    }
}
