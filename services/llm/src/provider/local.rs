//! The embedded model: a llama.cpp server on this machine, started by the program when the first
//! call needs it, and asked over the same protocol as any other.
//!
//! It differs in three things. Its address is only known once it runs. Its model writes tool calls
//! into the text (see `content_calls`). And a model of half a billion parameters that is shown tools
//! and a result asks for tools again, for ever, in every form of the history that was tried, whatever
//! the prompt says; without tools, and told the results in words, it answers. So after as many rounds
//! of tools as [`ProviderConfig::tool_rounds`] says it is asked in that form.
//!
//! [`ToolChoice::Required`] and [`ToolChoice::Named`] are said to llama.cpp as a JSON schema of the calls, from which it makes a
//! grammar: with its own `tool_choice` this model writes what it likes and does not stop. Under the
//! grammar every answer is a call, so free generation is the default.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use nexus_events::model::{Message, ToolSpec};
use serde_json::json;

use super::config::ProviderConfig;
use super::embed::{EmbedRequest, Embeddings};
use super::http::Reach;
use super::models::ConfigError;
use super::openai::OpenAi;
use super::remote::Remote;
use super::{CallLimits, ChatRequest, Completion, Provider, ProviderError, Sink, ToolChoice};

/// Rounds of tools for one question, unless configured otherwise.
const TOOL_ROUNDS: u32 = 1;

/// Gives the base URL of the running server (`http://127.0.0.1:…/v1`), starting it if needed, or
/// says in words why there is none. Asked before every call, within its deadline.
pub type EndpointResolver =
    Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// The provider of the embedded model.
pub struct LocalProvider {
    wire: Remote<OpenAi>,
    tool_rounds: u32,
}

impl LocalProvider {
    /// A provider that finds its server by `endpoint`.
    pub fn new(config: &ProviderConfig, endpoint: EndpointResolver) -> Result<Self, ConfigError> {
        Ok(Self {
            wire: Remote::with(config, OpenAi::resolved(endpoint), &Reach::LOCAL, true)?,
            tool_rounds: config.tool_rounds.unwrap_or(TOOL_ROUNDS),
        })
    }
}

impl Provider for LocalProvider {
    fn name(&self) -> &str {
        self.wire.name()
    }

    fn complete<'a>(
        &'a self,
        request: &'a ChatRequest,
        limits: &'a CallLimits,
        sink: &'a mut Sink<'_>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        let told = told_in_words(request, self.tool_rounds).or_else(|| constrained(request));
        let mut told = told.unwrap_or_else(|| request.clone());
        // The likeliest words are the best that a model this small has.
        told.temperature.get_or_insert(0.0);
        Box::pin(async move { self.wire.complete(&told, limits, sink).await })
    }

    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        limits: &'a CallLimits,
    ) -> BoxFuture<'a, Result<Embeddings, ProviderError>> {
        // llama.cpp makes vectors only when it is started for nothing else.
        self.wire.embed(request, limits)
    }
}

/// The request without tools and with the results of the last question's tools in words, once there
/// were enough rounds of them.
fn told_in_words(request: &ChatRequest, rounds: u32) -> Option<ChatRequest> {
    let is_question = |m: &Message| matches!(m, Message::User { .. });
    let after = request.messages.iter().rposition(is_question)? + 1;
    let (before, since) = request.messages.split_at_checked(after)?;
    let round =
        |m: &&Message| matches!(m, Message::Assistant { tool_calls, .. } if !tool_calls.is_empty());
    let had = u32::try_from(since.iter().filter(round).count()).unwrap_or(u32::MAX);
    let ends_with_result = matches!(since.last(), Some(Message::Tool { .. }));
    let forced = matches!(
        request.tool_choice,
        ToolChoice::Required | ToolChoice::Named(_)
    );
    if !ends_with_result || had < rounds || forced {
        return None;
    }
    let mut messages: Vec<Message> = before.iter().filter_map(without_tools).collect();
    messages.push(Message::User {
        text: results(since),
    });
    Some(ChatRequest {
        messages,
        tools: Vec::new(),
        ..request.clone()
    })
}

/// The request with its tools as the schema of the answer, where a call is required.
fn constrained(request: &ChatRequest) -> Option<ChatRequest> {
    let wanted = |tool: &&ToolSpec| match &request.tool_choice {
        ToolChoice::Required => true,
        ToolChoice::Named(name) => tool.name == *name,
        ToolChoice::Auto | ToolChoice::None => false,
    };
    if request.response_schema.is_some() {
        return None;
    }
    let call = |tool: &ToolSpec| {
        json!({
            "type": "object",
            "properties": { "name": { "const": tool.name }, "arguments": tool.parameters },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let calls: Vec<_> = request.tools.iter().filter(wanted).map(call).collect();
    if calls.is_empty() {
        return None;
    }
    Some(ChatRequest {
        tool_choice: ToolChoice::Auto,
        response_schema: Some(json!({ "anyOf": calls })),
        ..request.clone()
    })
}

/// A message of an earlier exchange, if it says anything without its tools.
fn without_tools(message: &Message) -> Option<Message> {
    match message {
        Message::Tool { .. } => None,
        Message::Assistant { text, .. } if text.trim().is_empty() => None,
        Message::Assistant { text, .. } => Some(Message::Assistant {
            text: text.clone(),
            tool_calls: Vec::new(),
        }),
        other => Some(other.clone()),
    }
}

fn results(since: &[Message]) -> String {
    let calls = since.iter().flat_map(|message| match message {
        Message::Assistant { tool_calls, .. } => tool_calls.as_slice(),
        _ => &[],
    });
    let calls: Vec<_> = calls.collect();
    let mut told = "Results of tools:\n".to_owned();
    for message in since {
        let Message::Tool {
            call_id,
            name,
            text,
        } = message
        else {
            continue;
        };
        let call = calls.iter().find(|call| call.id == *call_id);
        let arguments = call
            .map(|call| call.arguments.to_string())
            .unwrap_or_default();
        told.push_str(&format!("{name}({arguments}) = {text}\n"));
    }
    told.push_str("\nAnswer my question in plain words with these results.");
    told
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use nexus_events::model::ToolCall;

    use super::*;

    fn user(text: &str) -> Message {
        Message::User { text: text.into() }
    }

    fn round(id: &str) -> [Message; 2] {
        let arguments = json!({ "expression": "12*7" });
        let call = ToolCall {
            id: id.into(),
            name: "calculator".into(),
            arguments,
        };
        [
            Message::Assistant {
                text: String::new(),
                tool_calls: vec![call],
            },
            Message::Tool {
                call_id: id.into(),
                name: "calculator".into(),
                text: "84".into(),
            },
        ]
    }

    fn request(messages: impl IntoIterator<Item = Message>) -> ChatRequest {
        ChatRequest {
            messages: messages.into_iter().collect(),
            ..ChatRequest::default()
        }
    }

    #[test]
    fn results_are_told_in_words_after_the_last_round() {
        let earlier = [user("hi")].into_iter().chain(round("a"));
        let now = [user("What is 12*7?")].into_iter().chain(round("b"));
        let request = request(earlier.chain(now));
        let told = told_in_words(&request, 1).unwrap();
        let expected = "Results of tools:\ncalculator({\"expression\":\"12*7\"}) = 84\n\n\
            Answer my question in plain words with these results.";
        assert_eq!(
            told.messages,
            [user("hi"), user("What is 12*7?"), user(expected)]
        );
        assert!(told_in_words(&request, 2).is_none());
    }

    #[test]
    fn a_required_call_is_the_schema_of_the_answer() {
        let parameters = json!({ "type": "object" });
        let tool = ToolSpec {
            name: "calculator".into(),
            description: String::new(),
            parameters,
        };
        let mut request = ChatRequest {
            tools: vec![tool],
            ..request([user("a")])
        };
        assert!(constrained(&request).is_none());
        request.tool_choice = ToolChoice::Required;
        let schema = constrained(&request).unwrap().response_schema.unwrap();
        assert_eq!(
            schema["anyOf"][0]["properties"]["name"]["const"],
            "calculator"
        );
        request.tools.push(ToolSpec {
            name: "other".into(),
            ..request.tools[0].clone()
        });
        request.tool_choice = ToolChoice::Named("other".into());
        let schema = constrained(&request).unwrap().response_schema.unwrap();
        assert_eq!(schema["anyOf"].as_array().unwrap().len(), 1);
        assert_eq!(schema["anyOf"][0]["properties"]["name"]["const"], "other");
        request.tool_choice = ToolChoice::Named("gone".into());
        assert!(constrained(&request).is_none());
    }

    #[test]
    fn questions_and_forced_calls_are_left_alone() {
        let answered = [user("a")].into_iter().chain(round("a")).chain([user("b")]);
        assert!(told_in_words(&request(answered), 1).is_none());
        let mut forced = request([user("a")].into_iter().chain(round("a")));
        forced.tool_choice = ToolChoice::Required;
        assert!(told_in_words(&forced, 1).is_none());
    }
}
