//! The conversation that a model sees: the agent's instructions, the session's earlier runs, this
//! one. It is read back from the log along the runs' links; commands and events never carry it.

use nexus_bus::Failure;
use nexus_bus::Store;
use nexus_bus::objects::{ObjectError, Objects};
use nexus_bus::store::ReadHint;
use nexus_events::agent;
use nexus_events::model::Message;
use nexus_events::run::{Entry, PreviousRun, Run};
use nexus_events::{Body, Tenant};

use crate::given;

/// Earlier runs that are read back at most; older ones are left out.
const RUNS_AT_MOST: usize = 200;

/// What of a run is needed once its state is no longer looked at.
pub(crate) struct Said {
    instructions: Option<&'static str>,
    /// What the caller says was said before.
    context: Option<Body>,
    entries: Vec<Entry>,
    previous: Option<PreviousRun>,
}

impl Said {
    /// Copies what was said in a run.
    pub(crate) fn of(run: &Run) -> Self {
        let info = run.info();
        Self {
            instructions: info
                .filter(|_| !run.given().is_some_and(|given| given.instructs))
                .and_then(|info| agent::pinned(&info.agent.name, &info.agent.version))
                .map(|agent| agent.instructions),
            context: run.given().and_then(|given| given.context.clone()),
            // A call that no model asked for is no part of a conversation.
            entries: match run.invokes() {
                true => vec![],
                false => run.entries.clone(),
            },
            previous: info.and_then(|info| info.session.previous),
        }
    }

    fn likely_tokens(&self) -> u64 {
        let context = self.context.as_ref().map_or(0, Body::len_bytes) / 3;
        likely_tokens(&self.entries).saturating_add(context)
    }
}

/// The conversation, oldest first: this run whole, and the newest of the earlier runs as far as they
/// fit into `prompt_tokens`.
pub(crate) async fn conversation(
    store: &Store,
    objects: &Objects,
    tenant: &Tenant,
    said: Said,
    prompt_tokens: u64,
) -> Result<Vec<Message>, Failure> {
    let mut room = prompt_tokens.saturating_sub(said.likely_tokens());
    let mut runs = vec![(said.context, said.entries)];
    let mut previous = said.previous;
    while let Some(link) = previous
        && runs.len() <= RUNS_AT_MOST
    {
        let hint = ReadHint::between(link.first_seq, link.first_seq);
        let run = store.load::<Run>(tenant, &link.run_id.into(), hint).await?;
        let said = Said::of(&run.state);
        let Some(left) = room.checked_sub(said.likely_tokens()) else {
            break;
        };
        room = left;
        previous = said.previous;
        runs.push((said.context, said.entries));
    }
    let mut messages: Vec<Message> = vec![];
    let newest = runs.len().saturating_sub(1);
    for (index, (context, entries)) in runs.into_iter().rev().enumerate() {
        let context = given::list::<Message>(objects, tenant, context).await?;
        // Instructions hold until others come.
        if index == newest && context.iter().any(is_system) {
            messages.retain(|message| !is_system(message));
        }
        messages.extend(context);
        for entry in entries {
            messages.push(message(objects, tenant, entry).await?);
        }
    }
    let instructions = said.instructions.map(|text| Message::System {
        text: text.to_owned(),
    });
    let messages = instructions.into_iter().chain(messages).collect();
    Ok(without_open_calls(without_loose_results(messages)))
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

/// What the entries come to as a prompt: three bytes a token is more tokens than the tokenizers of
/// current models make of any European language or of code.
fn likely_tokens(entries: &[Entry]) -> u64 {
    let bytes: u64 = entries
        .iter()
        .map(|entry| match entry {
            Entry::User(text) | Entry::Tool { text, .. } => text.len_bytes(),
            Entry::Assistant { text, tool_calls } => {
                let calls = tool_calls
                    .iter()
                    .map(|call| call.arguments.to_string().len() as u64);
                text.len_bytes().saturating_add(calls.sum())
            }
        })
        .sum();
    bytes / 3 + 8 * entries.len() as u64
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
