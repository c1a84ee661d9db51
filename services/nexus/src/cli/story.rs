//! A run's events as a story for a person: which text goes to standard output, which remarks go
//! beside it, and how it ended. Pure: what is shown follows from what came, in order.
//!
//! Deltas are shown as they come and the recorded answer settles what was really said: whatever of
//! it was not heard is added, and an answer that differs is shown whole.

mod approval;
mod doubt;
mod item;
mod words;

use std::collections::HashMap;

use nexus_events::run::{LlmCompleted, ReservationGranted, RunEvent, RunStarted};
use nexus_events::{Body, Timestamp};

use super::exit::Exit;
use super::format::{count, duration, one_line, usd};
use super::style::Tone;
pub(crate) use item::{Item, Live};
use words::{SNIPPET, about, note, policy, refusal, snippet, with_reason};

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Text of the answer, without a line break of ours.
    Text(String),
    /// The answer's line ends here.
    Break,
    /// A remark.
    Note(Tone, String),
    /// A remark for whoever reads, and be it a log: somebody has to do something.
    Word(Tone, String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// `completed`, `failed` or `cancelled`.
    pub(crate) status: &'static str,
    /// The exit code.
    pub(crate) exit: Exit,
    /// Why, where it did not complete.
    pub(crate) reason: Option<String>,
}

/// The story so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// The conversation, to continue it.
    pub(crate) session: Option<String>,
    /// How it ended, once it has.
    pub(crate) ending: Option<Ending>,
    tokens: u64,
    cost_usd_micros: u64,
    began: Option<Timestamp>,
    latest: Option<Timestamp>,
    duration_ms: Option<u64>,
    /// The turn whose text is being shown, and what of it was.
    turn: u32,
    shown: String,
    /// The last turn whose answer was recorded.
    answered: u32,
    /// Model calls that were allowed to spend, and those whose usage is known.
    granted_calls: u32,
    known_calls: u32,
    /// Calls that wait for budget (the model's without a name), and since when.
    waits: HashMap<Option<String>, Option<Timestamp>>,
    tool_names: HashMap<String, String>,
}

impl Story {
    /// Takes what came; says what to show.
    pub(crate) fn take(&mut self, item: Item) -> Vec<Line> {
        match item {
            Item::Live(live) => self.live(live),
            Item::Fact { time, event } => {
                self.began = self.began.or(time);
                self.latest = time.or(self.latest);
                self.fact(*event)
            }
            Item::Unknown(name) => vec![note(format!("{name} (not known to this version)"))],
        }
    }

    /// One line about the whole run.
    pub(crate) fn summary(&self) -> String {
        let measured = match (self.began, self.latest) {
            (Some(began), Some(latest)) => latest.millis_since(began),
            _ => 0,
        };
        let ending = self.ending.as_ref();
        let mut parts = vec![
            ending
                .map_or("not ended", |ending| ending.status)
                .to_owned(),
            format!("{} tokens", count(self.tokens)),
            usd(self.cost_usd_micros),
            duration(self.duration_ms.unwrap_or(measured)),
        ];
        if let Some(reason) = ending.and_then(|ending| ending.reason.as_deref()) {
            parts.insert(1, one_line(reason, 400));
        }
        if let Some(session) = &self.session {
            parts.push(format!("session {session}"));
        }
        parts.join(" · ")
    }

    /// Whether a call may have spent what was not heard of: it was under way when the run ended.
    pub(crate) fn has_open_call(&self) -> bool {
        self.granted_calls > self.known_calls
    }

    /// Calls that may have spent something.
    pub(crate) fn calls(&self) -> u32 {
        self.granted_calls
    }

    /// What the run spent in all, as it was learned elsewhere.
    pub(crate) fn charge(&mut self, tokens: u64, cost_usd_micros: u64) {
        self.tokens = tokens;
        self.cost_usd_micros = cost_usd_micros;
        self.known_calls = self.granted_calls;
    }

    fn live(&mut self, live: Live) -> Vec<Line> {
        match live {
            Live::Text { turn, text } if turn > self.answered => {
                let mut lines = self.enter(turn);
                self.shown.push_str(&text);
                lines.push(Line::Text(text));
                lines
            }
            Live::Restart { turn, reason } if turn > self.answered => {
                let mut lines = self.enter(turn);
                lines.extend(self.end_text());
                let what = format!("the model is called again ({reason}); the above is void");
                lines.push(Line::Note(Tone::Warn, what));
                lines
            }
            // What comes late is in the recorded answer.
            _ => vec![],
        }
    }

    fn enter(&mut self, turn: u32) -> Vec<Line> {
        if turn == self.turn {
            return vec![];
        }
        self.turn = turn;
        self.end_text()
    }

    fn end_text(&mut self) -> Vec<Line> {
        let shown = std::mem::take(&mut self.shown);
        if shown.is_empty() {
            vec![]
        } else {
            vec![Line::Break]
        }
    }

    fn fact(&mut self, event: RunEvent) -> Vec<Line> {
        match event {
            RunEvent::RunStarted(started) => self.started(&started),
            RunEvent::PolicyDecided(decided) => vec![policy(&decided, |call| self.tool_name(call))],
            RunEvent::ReservationGranted(granted) => self.granted(&granted),
            RunEvent::RunParked(parked) => {
                self.waits.insert(parked.call_id.clone(), self.latest);
                let mut lines = self.end_text();
                lines.push(words::waits(&parked));
                lines
            }
            RunEvent::ModelDowngraded(change) => {
                let (from, to) = (change.from, change.to);
                let what = format!("model    {to} from here on: the budget does not fit {from}");
                vec![Line::Note(Tone::Warn, what)]
            }
            RunEvent::ModelSwitched(switch) => {
                let (from, to, why) = (switch.from, switch.to, switch.reason);
                let what = format!("model    {to} from here on: {from} does not answer ({why})");
                vec![Line::Note(Tone::Warn, what)]
            }
            RunEvent::ReservationRefused(refused) => {
                self.waits.remove(&refused.call_id);
                vec![refusal(&refused)]
            }
            RunEvent::ApprovalRequested(asked) => approval::asked(&asked),
            RunEvent::ApprovalGranted(granted) => vec![approval::granted(&granted)],
            RunEvent::ApprovalDenied(denied) => vec![approval::denied(&denied)],
            RunEvent::ApprovalExpired(_) => vec![approval::expired()],
            RunEvent::ApprovalEscalated(escalated) => vec![approval::escalated(&escalated)],
            RunEvent::ToolArgumentsChanged(changed) => vec![approval::changed(&changed)],
            RunEvent::ReservationLapsed(lapsed) => {
                self.known_calls += u32::from(lapsed.call_id.is_none());
                let turn = lapsed.turn;
                let what = format!("budget   what was held for turn {turn} lapsed; asking again");
                vec![note(what)]
            }
            RunEvent::LlmCompleted(answer) => self.answer(&answer),
            RunEvent::TextsEmbedded(done) => {
                let usage = &done.call.usage;
                self.spend(usage.total_tokens(), done.call.cost_usd_micros);
                self.known_calls += 1;
                vec![note(format!(
                    "model    {} vectors of {} numbers ({} tokens)",
                    count(done.count.into()),
                    count(done.dimensions.into()),
                    count(usage.total_tokens())
                ))]
            }
            RunEvent::ContextSummarised(done) => {
                let usage = &done.call.usage;
                self.spend(usage.total_tokens(), done.call.cost_usd_micros);
                self.known_calls += 1;
                vec![note(format!(
                    "context  the first {} messages are summarised ({} tokens)",
                    count(done.messages.into()),
                    count(usage.total_tokens())
                ))]
            }
            RunEvent::LlmFailed(failed) => {
                self.spend(failed.usage.total_tokens(), failed.cost_usd_micros);
                let mut lines = self.end_text();
                let what = format!("model    failed ({}): {}", failed.code, failed.message);
                self.known_calls += u32::from(failed.again.is_some());
                let tone = match failed.again {
                    Some(_) => Tone::Warn,
                    None => Tone::Bad,
                };
                lines.push(Line::Note(tone, what));
                lines
            }
            RunEvent::LlmAborted(aborted) => {
                self.spend(aborted.usage.total_tokens(), aborted.cost_usd_micros);
                let tokens = count(aborted.usage.total_tokens());
                let mut lines = self.end_text();
                lines.push(note(format!(
                    "model    stopped after {tokens} tokens, which are charged"
                )));
                lines
            }
            RunEvent::ToolStarted(started) if started.attempt > 1 => vec![Line::Note(
                Tone::Warn,
                format!(
                    "tool     {} is tried again ({})",
                    started.tool, started.attempt
                ),
            )],
            RunEvent::ToolStarted(_) => vec![],
            RunEvent::ToolCompleted(done) => {
                let name = self.tool_name(&done.call_id);
                let (text, took) = (snippet(&done.output), duration(done.duration_ms));
                vec![note(format!("tool     {name} gave {text} ({took})"))]
            }
            RunEvent::ToolFailed(failed) => {
                let name = self.tool_name(&failed.call_id);
                let why = one_line(&failed.message, SNIPPET);
                let what = format!("tool     {name} failed ({}): {why}", failed.code);
                vec![Line::Note(Tone::Warn, what)]
            }
            RunEvent::ToolInDoubt(doubt) => doubt::left(&doubt),
            RunEvent::ToolResolved(resolved) => vec![doubt::resolved(
                &resolved,
                &self.tool_name(&resolved.call_id),
            )],
            RunEvent::RunDequeued(_) => vec![note("session  its turn has come".to_owned())],
            RunEvent::RunAwaited(_) => {
                vec![note("session  another run waits for its end".to_owned())]
            }
            RunEvent::RunTakenBack(back) => {
                vec![Line::Note(
                    Tone::Warn,
                    format!("session  taken back for run {}", back.by),
                )]
            }
            RunEvent::RunSignalled(signal) => {
                vec![note(format!("signal   {}", snippet(&signal.input)))]
            }
            RunEvent::RunPaused(paused) => {
                vec![Line::Note(
                    Tone::Warn,
                    with_reason("paused", paused.reason.as_deref()),
                )]
            }
            RunEvent::RunResumed(resumed) => {
                vec![note(with_reason("resumed", resumed.reason.as_deref()))]
            }
            RunEvent::RunCompleted(done) => {
                self.tokens = done.tokens;
                self.cost_usd_micros = done.cost_usd_micros;
                self.duration_ms = Some(done.duration_ms);
                self.end("completed", None, None)
            }
            RunEvent::RunFailed(failed) => self.end(
                "failed",
                Some(&failed.code),
                Some(format!("{}: {}", failed.code, failed.message)),
            ),
            RunEvent::RunCancelled(cancelled) => self.end("cancelled", None, cancelled.reason),
        }
    }

    /// A call may spend; if it waited for that, the run goes on.
    fn granted(&mut self, granted: &ReservationGranted) -> Vec<Line> {
        let call = granted.call_id.as_deref();
        self.granted_calls += u32::from(call.is_none());
        let held = words::held(granted, call.map(|call| self.tool_name(call)));
        let Some(since) = self.waits.remove(&granted.call_id) else {
            return vec![note(held)];
        };
        let waited = self.latest.zip(since);
        let waited = waited.map(|(now, since)| duration(now.millis_since(since)));
        let after = waited.map_or_else(String::new, |waited| format!(" after {waited}"));
        let what = format!("budget   goes on{after}");
        vec![Line::Note(Tone::Good, what), note(held)]
    }

    fn started(&mut self, started: &RunStarted) -> Vec<Line> {
        self.session = Some(started.session.id.to_string());
        let agent = &started.agent;
        let mut lines = vec![note(format!(
            "run      {} · agent {} {} · model {}",
            started.run_id, agent.name, agent.version, started.model
        ))];
        if started.queued.is_some() {
            let what = "session  waits until the runs before it have ended".to_owned();
            lines.push(Line::Note(Tone::Warn, what));
        }
        lines
    }

    fn answer(&mut self, answer: &LlmCompleted) -> Vec<Line> {
        self.spend(answer.usage.total_tokens(), answer.cost_usd_micros);
        let mut lines = self.enter(answer.turn);
        self.answered = answer.turn;
        match &answer.text {
            Body::Inline(text) => lines.extend(self.rest_of(text)),
            Body::Stored { object, bytes } => lines.push(note(format!(
                "answer   has {} bytes and is kept as {object}",
                count(*bytes)
            ))),
        }
        lines.extend(self.end_text());
        lines.push(note(about(answer)));
        for call in &answer.tool_calls {
            self.tool_names.insert(call.id.clone(), call.name.clone());
            let arguments = one_line(&call.arguments.to_string(), SNIPPET);
            lines.push(note(format!("tool     {} {arguments}", call.name)));
        }
        lines
    }

    /// What of the recorded text was not shown yet.
    fn rest_of(&mut self, text: &str) -> Vec<Line> {
        let shown = std::mem::take(&mut self.shown);
        text.clone_into(&mut self.shown);
        match text.strip_prefix(shown.as_str()) {
            Some("") => vec![],
            Some(rest) => vec![Line::Text(rest.to_owned())],
            None => vec![
                Line::Break,
                Line::Note(
                    Tone::Warn,
                    "some of it was not heard; the whole answer:".to_owned(),
                ),
                Line::Text(text.to_owned()),
            ],
        }
    }

    fn end(
        &mut self,
        status: &'static str,
        code: Option<&str>,
        reason: Option<String>,
    ) -> Vec<Line> {
        self.ending = Some(Ending {
            status,
            exit: Exit::of_run(status, code),
            reason,
        });
        self.end_text()
    }

    fn spend(&mut self, tokens: u64, cost_usd_micros: u64) {
        self.known_calls += 1;
        self.tokens = self.tokens.saturating_add(tokens);
        self.cost_usd_micros = self.cost_usd_micros.saturating_add(cost_usd_micros);
    }

    fn tool_name(&self, call_id: &str) -> String {
        self.tool_names
            .get(call_id)
            .map_or_else(|| call_id.to_owned(), Clone::clone)
    }
}

#[cfg(test)]
mod tests;
