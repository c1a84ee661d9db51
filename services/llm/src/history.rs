//! The conversation that a model sees: the agent's instructions, the session's earlier runs, this
//! one. It is read back from the log along the runs' links, to where the newest summary begins;
//! commands and events never carry it.

use nexus_bus::Failure;
use nexus_bus::Store;
use nexus_bus::objects::{ObjectError, Objects};
use nexus_bus::store::ReadHint;
use nexus_events::agent;
use nexus_events::model::Message;
use nexus_events::run::{Entry, PreviousRun, Run, Summary, Upto};
use nexus_events::{Body, RunId, Tenant};

use crate::given;

/// Earlier runs that are read back at most; older ones are left out.
const RUNS_AT_MOST: usize = 200;
/// How many times what a model can read is read back at most, to be summarised in pieces.
const TIMES_THE_ROOM: u64 = 8;

/// What of a run is needed once its state is no longer looked at.
pub(crate) struct Said {
    run_id: Option<RunId>,
    instructions: Option<&'static str>,
    /// What the caller says was said before.
    context: Option<Body>,
    entries: Vec<Entry>,
    previous: Option<PreviousRun>,
    summary: Option<Summary>,
}

impl Said {
    /// Copies what was said in a run.
    pub(crate) fn of(run: &Run) -> Self {
        let info = run.info();
        Self {
            run_id: info.map(|info| info.run_id),
            instructions: info
                .filter(|_| !run.given().is_some_and(|given| given.instructs))
                .and_then(|info| agent::pinned(&info.agent.name, &info.agent.version))
                .map(|agent| agent.instructions),
            context: run.given().and_then(|given| given.context.clone()),
            // A call that no model asked for is no part of a conversation.
            entries: match run.invokes() || run.embeds() {
                true => vec![],
                false => run.entries.clone(),
            },
            previous: info.and_then(|info| info.session.previous),
            summary: run.summary.clone(),
        }
    }

    fn likely_tokens(&self) -> u64 {
        let context = self.context.as_ref().map_or(0, Body::len_bytes) / 3;
        let entries = self.entries.iter().map(Entry::len_bytes).sum::<u64>() / 3;
        context.saturating_add(entries)
    }
}

/// A message, and where it was said.
pub(crate) struct Unit {
    pub(crate) message: Message,
    /// The place after it.
    pub(crate) upto: Upto,
}

/// A conversation, oldest first.
pub(crate) struct History {
    pub(crate) instructions: Option<&'static str>,
    /// What the caller instructs.
    pub(crate) callers: Vec<Message>,
    /// What stands for all that was said before `units`.
    pub(crate) summary: Option<String>,
    pub(crate) units: Vec<Unit>,
}

impl History {
    /// Reads it back: this run, and the earlier runs, as far as no summary stands for them.
    pub(crate) async fn read(
        store: &Store,
        objects: &Objects,
        tenant: &Tenant,
        said: Said,
        prompt_tokens: u64,
    ) -> Result<Self, Failure> {
        let instructions = said.instructions;
        let mut room =
            (prompt_tokens.saturating_mul(TIMES_THE_ROOM)).saturating_sub(said.likely_tokens());
        let mut summary = said.summary.clone();
        let mut previous = said.previous;
        let mut runs = vec![said];
        while let Some(link) = previous
            && runs.len() <= RUNS_AT_MOST
            && !reaches(&runs, summary.as_ref())
        {
            let hint = ReadHint::between(link.first_seq, link.first_seq);
            let run = store.load::<Run>(tenant, &link.run_id.into(), hint).await?;
            let said = Said::of(&run.state);
            drop(run);
            let Some(left) = room.checked_sub(said.likely_tokens()) else {
                break;
            };
            room = left;
            previous = said.previous;
            // The newest one goes furthest.
            summary = summary.or_else(|| said.summary.clone());
            runs.push(said);
        }
        let (mut units, mut callers) = (vec![], vec![]);
        for said in runs.into_iter().rev() {
            let run_id = said.run_id.unwrap_or_else(|| RunId::derive(&["unborn"]));
            let mut messages = given::list::<Message>(objects, tenant, said.context).await?;
            let first = messages
                .iter()
                .take_while(|message| is_system(message))
                .count();
            if first > 0 {
                // Instructions hold until others come.
                callers = messages.drain(..first).collect();
            }
            for entry in said.entries {
                messages.push(message(objects, tenant, entry).await?);
            }
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            for (message, messages) in messages.into_iter().zip(first.saturating_add(1)..) {
                let upto = Upto { run_id, messages };
                units.push(Unit { message, upto });
            }
            // What the summary stands for, and what was said before that.
            if let Some(of) = summary.as_ref().filter(|of| of.upto.run_id == run_id) {
                units.retain(|unit| {
                    unit.upto.run_id == run_id && unit.upto.messages > of.upto.messages
                });
            }
        }
        let summary = match summary {
            Some(summary) => Some(objects.resolve(tenant, &summary.text).await?),
            None => None,
        };
        Ok(Self {
            instructions,
            callers,
            summary,
            units,
        })
    }

    /// As a model is told it.
    pub(crate) fn messages(self) -> Vec<Message> {
        let instructions = self.instructions.map(|text| Message::System {
            text: text.to_owned(),
        });
        let summary = self.summary.as_deref().map(told);
        let said = self.units.into_iter().map(|unit| unit.message).collect();
        let said = without_open_calls(without_loose_results(said));
        instructions
            .into_iter()
            .chain(self.callers)
            .chain(summary)
            .chain(said)
            .collect()
    }
}

/// A summary, as a model is told it: by a user, for it is made of what users and tools said, and has
/// no authority beyond theirs.
pub(crate) fn told(summary: &str) -> Message {
    Message::User {
        text: format!("[What was said before, summarised:]\n{summary}"),
    }
}

fn is_system(message: &Message) -> bool {
    matches!(message, Message::System { .. })
}

/// A caller's result of a call that is not there, perhaps because its run is too long ago to be read
/// back: every provider refuses one.
fn without_loose_results(messages: Vec<Message>) -> Vec<Message> {
    let mut asked = std::collections::HashSet::new();
    messages
        .into_iter()
        .filter(|message| match message {
            Message::Assistant { tool_calls, .. } => {
                asked.extend(tool_calls.iter().map(|call| call.id.clone()));
                true
            }
            Message::Tool { call_id, .. } => asked.contains(call_id),
            _ => true,
        })
        .collect()
}

/// Whether what was read reaches back to where the summary begins.
fn reaches(runs: &[Said], summary: Option<&Summary>) -> bool {
    let upto = summary.map(|summary| summary.upto.run_id);
    upto.is_some() && runs.iter().any(|said| said.run_id == upto)
}

async fn message(objects: &Objects, tenant: &Tenant, entry: Entry) -> Result<Message, ObjectError> {
    let text = |body: Body| async move { objects.resolve(tenant, &body).await };
    Ok(match entry {
        Entry::User(body) => Message::User {
            text: text(body).await?,
        },
        Entry::Assistant {
            text: body,
            tool_calls,
        } => Message::Assistant {
            text: text(body).await?,
            tool_calls,
        },
        Entry::Tool {
            call_id,
            name,
            text: body,
        } => Message::Tool {
            call_id,
            name,
            text: text(body).await?,
        },
    })
}

/// A run that ended while its tools were at work leaves calls without results, which every provider
/// refuses: such a message loses its calls.
fn without_open_calls(messages: Vec<Message>) -> Vec<Message> {
    let answered: std::collections::HashSet<String> = (messages.iter())
        .filter_map(|message| match message {
            Message::Tool { call_id, .. } => Some(call_id.clone()),
            _ => None,
        })
        .collect();
    messages
        .into_iter()
        .filter_map(|message| match message {
            Message::Assistant { text, tool_calls }
                if !tool_calls.iter().all(|call| answered.contains(&call.id)) =>
            {
                (!text.is_empty()).then_some(Message::Assistant {
                    text,
                    tool_calls: vec![],
                })
            }
            other => Some(other),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use nexus_events::model::ToolCall;

    use super::*;

    #[test]
    fn a_result_without_its_call_is_not_shown() {
        let result = Message::Tool {
            call_id: "a".to_owned(),
            name: "calculator".to_owned(),
            text: "1".to_owned(),
        };
        let words = Message::User {
            text: "and now?".to_owned(),
        };
        let kept = without_loose_results(vec![result, words.clone()]);
        assert_eq!(kept, vec![words]);
    }

    #[test]
    fn a_call_without_a_result_is_not_shown() {
        let call = |id: &str| ToolCall {
            id: id.to_owned(),
            name: "calculator".to_owned(),
            arguments: serde_json::json!({}),
        };
        let asked = |text: &str, id: &str| Message::Assistant {
            text: text.to_owned(),
            tool_calls: vec![call(id)],
        };
        let result = Message::Tool {
            call_id: "a".to_owned(),
            name: "calculator".to_owned(),
            text: "1".to_owned(),
        };
        let messages = vec![
            asked("", "a"),
            result.clone(),
            asked("let me see", "b"),
            asked("", "c"),
        ];
        let kept = without_open_calls(messages);
        let said = Message::Assistant {
            text: "let me see".to_owned(),
            tool_calls: vec![],
        };
        assert_eq!(kept, vec![asked("", "a"), result, said]);
    }
}
