//! The chunks of a stream, from fragments as they come and from what is recorded. Pure.
//!
//! Fragments may be lost, void or late; what is recorded is the truth and fills what they left out.

use std::collections::{BTreeMap, BTreeSet};

use nexus_events::model::ToolCall;
use nexus_events::run::LlmCompleted;
use serde::Deserialize;

use super::answer::{CallDelta, ChunkDelta, FunctionDelta, arguments};
use super::collect::BETWEEN_TURNS;
use super::sent::{Diverged, Sent};

/// A fragment, as the model role publishes it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Live {
    /// More text.
    Text { turn: u32, text: String },
    /// More of a call.
    ToolCall {
        turn: u32,
        index: usize,
        id: String,
        name: String,
        arguments: String,
    },
    /// What came in this turn so far is void.
    Restart { turn: u32 },
    /// Nothing of the answer.
    #[serde(other)]
    Other,
}

/// Makes chunks of one run.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// Tools whose calls are for the client.
    client_tools: BTreeSet<String>,
    turn: u32,
    /// A turn before this one said something.
    spoke: bool,
    text: Sent,
    calls: Vec<Call>,
    /// Which of the calls is the attempt's call of this index.
    places: BTreeMap<usize, usize>,
    /// Arguments that came before their tool's name.
    nameless: BTreeMap<usize, String>,
    /// The fragments that come first may be from the middle of a turn.
    joining: bool,
    /// A turn whose fragments are not all heard: it is told when it is recorded.
    deaf: Option<u32>,
}

/// A call for the client, as far as it was sent.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: Sent,
}

impl Chunks {
    /// `joining`: the run may have begun before its fragments were listened to.
    pub(crate) fn new(client_tools: impl IntoIterator<Item = String>, joining: bool) -> Self {
        Self {
            client_tools: client_tools.into_iter().collect(),
            joining,
            ..Self::default()
        }
    }

    /// The chunks of a fragment.
    pub(crate) fn live(&mut self, live: Live) -> Result<Vec<ChunkDelta>, Diverged> {
        let mut out = vec![];
        match live {
            Live::Text { turn, text } if self.hears(turn) => {
                let first = self.text.is_empty();
                let new = self.text.piece(&text)?.to_owned();
                self.say(first, &new, &mut out);
            }
            Live::ToolCall {
                turn,
                index,
                id,
                name,
                arguments,
            } if self.hears(turn) => self.call(index, &id, &name, &arguments, &mut out)?,
            Live::Restart { turn } if self.is_current(turn) => {
                // All that comes from here on is heard.
                self.joining = false;
                self.deaf = None;
                self.text.restart();
                self.calls
                    .iter_mut()
                    .for_each(|call| call.arguments.restart());
                self.places.clear();
                self.nameless.clear();
            }
            _ => {}
        }
        Ok(out)
    }

    /// The chunks that a turn's recorded answer still needs.
    pub(crate) fn recorded(&mut self, done: &LlmCompleted) -> Result<Vec<ChunkDelta>, Diverged> {
        let mut out = vec![];
        if !self.is_current(done.turn) {
            return Ok(out);
        }
        let first = self.text.is_empty();
        let new = self.text.whole(done.text.inline().unwrap_or_default())?;
        self.say(first, new, &mut out);
        let calls = done.tool_calls.iter();
        let calls: Vec<_> = calls
            .filter(|call| self.client_tools.contains(&call.name))
            .collect();
        if self.calls.len() > calls.len() {
            return Err(Diverged);
        }
        for (index, call) in calls.into_iter().enumerate() {
            self.complete(index, call, &mut out)?;
        }
        Ok(out)
    }

    /// Whether this is the turn that is going; a later one begins with it.
    fn is_current(&mut self, turn: u32) -> bool {
        if turn > self.turn {
            self.turn = turn;
            self.spoke |= !self.text.is_empty();
            self.text = Sent::default();
            self.calls.clear();
            self.places.clear();
            self.nameless.clear();
        }
        turn == self.turn
    }

    /// Whether fragments of a turn are told.
    fn hears(&mut self, turn: u32) -> bool {
        if !self.is_current(turn) {
            return false;
        }
        if std::mem::take(&mut self.joining) {
            self.deaf = Some(turn);
        }
        self.deaf != Some(turn)
    }

    fn say(&self, first: bool, new: &str, out: &mut Vec<ChunkDelta>) {
        if new.is_empty() {
            return;
        }
        let content = match first && self.spoke {
            true => format!("{BETWEEN_TURNS}{new}"),
            false => new.to_owned(),
        };
        out.push(ChunkDelta {
            content: Some(content),
            ..ChunkDelta::default()
        });
    }

    fn call(
        &mut self,
        index: usize,
        id: &str,
        name: &str,
        arguments: &str,
        out: &mut Vec<ChunkDelta>,
    ) -> Result<(), Diverged> {
        if name.is_empty() {
            self.nameless.entry(index).or_default().push_str(arguments);
            return Ok(());
        }
        if !self.client_tools.contains(name) {
            return Ok(());
        }
        let place = match self.places.get(&index) {
            Some(place) => *place,
            None => {
                let place = self.places.len();
                self.places.insert(index, place);
                self.open(place, id, name, out)?;
                place
            }
        };
        let before = self.nameless.remove(&index).unwrap_or_default();
        self.argue(place, &format!("{before}{arguments}"), out)
    }

    /// The call of this place, which a restarted attempt has opened already if it is the same.
    fn open(
        &mut self,
        place: usize,
        id: &str,
        name: &str,
        out: &mut Vec<ChunkDelta>,
    ) -> Result<(), Diverged> {
        if let Some(known) = self.calls.get(place) {
            return match known.name == name {
                true => Ok(()),
                false => Err(Diverged),
            };
        }
        self.calls.push(Call {
            name: name.to_owned(),
            arguments: Sent::default(),
        });
        let call = CallDelta {
            index: place,
            id: Some(id.to_owned()),
            r#type: Some("function"),
            function: FunctionDelta {
                name: Some(name.to_owned()),
                arguments: String::new(),
            },
        };
        push_call(call, out);
        Ok(())
    }

    fn argue(
        &mut self,
        place: usize,
        piece: &str,
        out: &mut Vec<ChunkDelta>,
    ) -> Result<(), Diverged> {
        let Some(call) = self.calls.get_mut(place) else {
            return Ok(());
        };
        let new = call.arguments.piece(piece)?.to_owned();
        Self::push_arguments(place, new, out);
        Ok(())
    }

    fn complete(
        &mut self,
        place: usize,
        call: &ToolCall,
        out: &mut Vec<ChunkDelta>,
    ) -> Result<(), Diverged> {
        self.open(place, &call.id, &call.name, out)?;
        let Some(known) = self.calls.get_mut(place) else {
            return Ok(());
        };
        // The model's own spelling of the same arguments was sent as it came.
        let said = serde_json::from_str::<serde_json::Value>(known.arguments.text());
        if said.is_ok_and(|said| said == call.arguments) {
            return Ok(());
        }
        let whole = arguments(&call.arguments);
        let new = known.arguments.whole(&whole)?.to_owned();
        Self::push_arguments(place, new, out);
        Ok(())
    }

    fn push_arguments(index: usize, arguments: String, out: &mut Vec<ChunkDelta>) {
        if arguments.is_empty() {
            return;
        }
        let call = CallDelta {
            index,
            function: FunctionDelta {
                name: None,
                arguments,
            },
            ..CallDelta::default()
        };
        push_call(call, out);
    }
}

fn push_call(call: CallDelta, out: &mut Vec<ChunkDelta>) {
    let tool_calls = vec![call];
    out.push(ChunkDelta {
        tool_calls,
        ..ChunkDelta::default()
    });
}

#[cfg(test)]
mod tests;
