//! A response in numbered events, from what is recorded of its run and from fragments as they come.
//! Pure.
//!
//! **The number of an event is its place in what is recorded**: an event has the number after the one
//! before it, and a piece of text the number of its last byte, however the text was cut into pieces.
//! So whoever tells a run's response gives the same numbers: a gateway that heard every fragment, one
//! that heard none, and one that begins years later; and whoever has a number has all of the text up
//! to it. Counting what was sent was the alternative, which a table would have to remember.

use std::collections::VecDeque;

use nexus_events::model::ToolCall;
use nexus_events::run::{LlmCompleted, RunEvent};
use nexus_events::{RunId, Timestamp};
use serde_json::{Value, json};

use super::object::{OutItem, Part, ResponseObject, Shell};
use crate::openai::answer::arguments;
use crate::openai::chunks::Live;
use crate::openai::collect::{Collected, End};
use crate::openai::follow::Happened;
use crate::openai::sent::{Diverged, Sent};

/// An event of the protocol, but for its number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) event: Value,
    /// Of a piece of text: the number of the place before it.
    pub(crate) from: Option<u64>,
}

/// What is told of a run.
#[derive(Debug)]
pub(crate) struct Tale {
    run: RunId,
    shell: Option<Shell>,
    output: Vec<OutItem>,
    /// The number of the next event.
    next: u64,
    /// The last turn that has its answer.
    answered: u32,
    /// The text that is being said in the turn after it.
    open: Option<Open>,
    /// A turn whose fragments are not all heard, so that none of them is told.
    deaf: Option<u32>,
    /// The fragments that come first may be from the middle of a text.
    joining: bool,
    collected: Collected,
    ended_at: Option<Timestamp>,
    /// It waits for its turn in its session.
    queued: bool,
    out: VecDeque<Numbered>,
}

/// A text that is being said.
#[derive(Debug)]
struct Open {
    id: String,
    /// The number of the place before its first byte.
    base: u64,
    text: Sent,
}

impl Tale {
    /// `joining`: the run may have begun before its fragments were listened to.
    pub(crate) fn of(run: RunId, joining: bool) -> Self {
        Self {
            run,
            shell: None,
            output: vec![],
            next: 0,
            answered: 0,
            open: None,
            deaf: None,
            joining,
            collected: Collected::default(),
            ended_at: None,
            queued: false,
            out: VecDeque::new(),
        }
    }

    /// The events that are to be told now.
    pub(crate) fn told(&mut self) -> Vec<Numbered> {
        self.out.drain(..).collect()
    }

    /// How the run ended, once it has.
    pub(crate) fn end(&self) -> Option<&End> {
        self.collected.end.as_ref()
    }

    /// The last of the client's calls that are to be answered.
    pub(crate) fn calls(&self) -> &[ToolCall] {
        match self.end() {
            Some(End::Completed) => &self.collected.calls,
            _ => &[],
        }
    }

    /// The response as it is; none where the run has not begun.
    pub(crate) fn response(&self) -> Option<ResponseObject> {
        let shell = self.shell.as_ref()?;
        let mut response = shell.with(self.run, &self.output, &self.collected, self.ended_at);
        if self.queued && self.end().is_none() {
            response.status = "queued";
        }
        Some(response)
    }

    /// Takes a fragment.
    pub(crate) fn live(&mut self, live: &Live) -> Result<(), Diverged> {
        match live {
            Live::Text { turn, text } if self.hears(*turn) => self.say(text),
            Live::Restart { turn } if *turn > self.answered => {
                self.deaf = self.deaf.filter(|deaf| deaf != turn);
                self.joining = false;
                if let Some(open) = &mut self.open {
                    open.text.restart();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes what was recorded.
    pub(crate) fn happened(&mut self, happened: &Happened) -> Result<(), Diverged> {
        let Happened { at, event } = happened;
        self.collected.take(event);
        match event {
            RunEvent::RunStarted(started) if self.shell.is_none() => {
                let shell = Shell::of(started, *at);
                self.shell = Some(shell);
                self.stands("response.created", "queued");
                self.stands("response.queued", "queued");
                self.queued = started.queued.is_some();
                if !self.queued {
                    self.stands("response.in_progress", "in_progress");
                }
            }
            RunEvent::RunDequeued(turn) if self.queued => {
                self.queued = false;
                if let Some(shell) = &mut self.shell {
                    shell.previous = turn.previous.map(|run| run.run_id);
                }
                self.stands("response.in_progress", "in_progress");
            }
            RunEvent::LlmCompleted(done) if done.turn > self.answered => self.answer(done)?,
            RunEvent::RunCompleted(_) => {
                self.ended_at = Some(*at);
                for (call, index) in self.collected.calls.clone().into_iter().zip(0_u32..) {
                    self.call(call, index);
                }
            }
            RunEvent::RunFailed(_) | RunEvent::RunCancelled(_) => self.ended_at = Some(*at),
            _ => {}
        }
        Ok(())
    }

    /// The last event; all that was recorded is taken.
    pub(crate) fn finish(&mut self) {
        let Some(response) = self.response() else {
            return;
        };
        let name = match response.status {
            "completed" => "response.completed",
            "incomplete" => "response.incomplete",
            _ => "response.failed",
        };
        self.push(json!({ "type": name, "response": response }));
    }

    /// Whether fragments of a turn are told. Those that come before the record of the turn before
    /// theirs are not: the order of what is told would not be that of the record.
    fn hears(&mut self, turn: u32) -> bool {
        if turn <= self.answered {
            return false;
        }
        let early = turn > self.answered + 1 || self.shell.is_none();
        if early || std::mem::take(&mut self.joining) {
            self.deaf = Some(turn);
        }
        self.deaf != Some(turn)
    }

    fn say(&mut self, piece: &str) -> Result<(), Diverged> {
        if piece.is_empty() {
            return Ok(());
        }
        self.begin_text();
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let new = open.text.piece(piece)?.to_owned();
        self.push_text(&new);
        Ok(())
    }

    fn answer(&mut self, done: &LlmCompleted) -> Result<(), Diverged> {
        let whole = done.text.inline().unwrap_or_default();
        if !whole.is_empty() {
            self.begin_text();
        }
        let rest = match &mut self.open {
            Some(open) => open.text.whole(whole)?.to_owned(),
            None => String::new(),
        };
        self.push_text(&rest);
        self.end_text();
        self.answered = done.turn;
        self.deaf = None;
        Ok(())
    }

    fn begin_text(&mut self) {
        if self.open.is_some() {
            return;
        }
        let index = self.output.len();
        let id = format!("msg_{}_{index}", self.run);
        let item = message(&id, "in_progress", vec![]);
        self.push(json!({
            "type": "response.output_item.added", "output_index": index, "item": item,
        }));
        self.push(json!({
            "type": "response.content_part.added", "item_id": id, "output_index": index,
            "content_index": 0, "part": Part::of(""),
        }));
        self.open = Some(Open {
            id,
            base: self.next.saturating_sub(1),
            text: Sent::default(),
        });
    }

    fn push_text(&mut self, new: &str) {
        let Some(open) = self.open.as_ref().filter(|_| !new.is_empty()) else {
            return;
        };
        let end = open.base.saturating_add(open.text.text().len() as u64);
        let event = json!({
            "type": "response.output_text.delta", "item_id": open.id,
            "output_index": self.output.len(), "content_index": 0, "delta": new, "logprobs": [],
        });
        self.out.push_back(Numbered {
            number: end,
            event,
            from: Some(end.saturating_sub(new.len() as u64)),
        });
        self.next = end.saturating_add(1);
    }

    fn end_text(&mut self) {
        let Some(Open { id, text, .. }) = self.open.take() else {
            return;
        };
        let index = self.output.len();
        let part = Part::of(text.text());
        self.push(json!({
            "type": "response.output_text.done", "item_id": id, "output_index": index,
            "content_index": 0, "text": text.text(), "logprobs": [],
        }));
        self.push(json!({
            "type": "response.content_part.done", "item_id": id, "output_index": index,
            "content_index": 0, "part": part,
        }));
        let item = message(&id, "completed", vec![part]);
        self.push(json!({
            "type": "response.output_item.done", "output_index": index, "item": item,
        }));
        self.output.push(item);
    }

    fn call(&mut self, call: ToolCall, number: u32) {
        let index = self.output.len();
        let id = format!("fc_{}_{number}", self.run);
        let text = arguments(&call.arguments);
        let item = |arguments: &str, status| OutItem::FunctionCall {
            id: id.clone(),
            call_id: call.id.clone(),
            name: call.name.clone(),
            arguments: arguments.to_owned(),
            status,
        };
        let done = item(&text, "completed");
        self.push(json!({
            "type": "response.output_item.added", "output_index": index,
            "item": item("", "in_progress"),
        }));
        self.push(json!({
            "type": "response.function_call_arguments.delta", "item_id": id,
            "output_index": index, "delta": text,
        }));
        self.push(json!({
            "type": "response.function_call_arguments.done", "item_id": id,
            "output_index": index, "name": call.name, "arguments": text,
        }));
        self.push(json!({
            "type": "response.output_item.done", "output_index": index, "item": done,
        }));
        self.output.push(done);
    }

    /// Tells how the response stands before anything of its output is there.
    fn stands(&mut self, name: &str, status: &'static str) {
        if let Some(shell) = &self.shell {
            let response = shell.begun(self.run, status);
            self.push(json!({ "type": name, "response": response }));
        }
    }

    fn push(&mut self, event: Value) {
        self.out.push_back(Numbered {
            number: self.next,
            event,
            from: None,
        });
        self.next = self.next.saturating_add(1);
    }
}

fn message(id: &str, status: &'static str, content: Vec<Part>) -> OutItem {
    OutItem::Message {
        id: id.to_owned(),
        role: "assistant",
        status,
        content,
    }
}

#[cfg(test)]
mod tests;
