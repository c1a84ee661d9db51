//! Anthropic's messages protocol, at Anthropic or any server that speaks it.
//!
//! Always streamed. Prompts are cached by breakpoints after what every turn of a run repeats; thoughts
//! are billed, and neither shown nor sent back: events keep no opaque blocks of one vendor, and a
//! model that is told of its calls and their results without them goes on.

use std::time::Duration;

use super::answer::Answer;
use super::anthropic_wire::{self, Block, Body, Delta, Event};
use super::config::ProviderConfig;
use super::embed::{self, EmbedRequest, Embeddings};
use super::environment::ANTHROPIC_BASE;
use super::error::Failure;
use super::guard::Guard;
use super::http::{self, Reach};
use super::models::ConfigError;
use super::remote::Wire;
use super::sse::Events;
use super::wire::{CallDelta, FunctionDelta};
use super::{ChatRequest, Sink};

/// The version of the protocol, as its header names it.
const VERSION: &str = "2023-06-01";
/// How long the end may still take once the model has said that it is done.
const END_GRACE: Duration = Duration::from_secs(2);

/// The protocol at one address.
pub(super) struct Anthropic {
    url: String,
}

impl Wire for Anthropic {
    fn new(config: &ProviderConfig) -> Result<(Self, Reach), ConfigError> {
        let (base, parsed) = http::base(config, ANTHROPIC_BASE)?;
        // Anthropic's own clients take the address without the version; other people's with it.
        let base = base.strip_suffix("/v1").unwrap_or(&base);
        let wire = Self {
            url: format!("{base}/v1/messages"),
        };
        Ok((wire, Reach::of(&parsed)))
    }

    async fn stream(
        &self,
        guard: &Guard,
        request: &ChatRequest,
        answer: &mut Answer<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let mut http = (guard.http.post(&self.url))
            .header("anthropic-version", VERSION)
            .json(&Body::new(request))
            .build()
            .map_err(|_| Failure::transient("the request could not be built"))?;
        if let Some(key) = guard.key_header("") {
            http.headers_mut().insert("x-api-key", key);
        }
        answer.may_write_cache();
        let body = guard.stream(http, b"message_stop").await?;
        let mut events = Events::new(body, &guard.watch);
        loop {
            let next = events.next();
            let next = match answer.is_finished() {
                true => (tokio::time::timeout(END_GRACE, next).await).unwrap_or(Ok(None)),
                false => next.await,
            };
            let Some(data) = next? else {
                break;
            };
            let event = serde_json::from_str(&data)
                .map_err(|error| Failure::malformed(format!("no JSON of the protocol: {error}")))?;
            if take(event, answer, sink)? {
                events.end().await;
                break;
            }
        }
        match answer.is_finished() {
            true => Ok(()),
            false => Err(Failure::truncated("it ended without a stop reason")),
        }
    }

    async fn embed(&self, _: &Guard, _: &EmbedRequest) -> Result<Embeddings, Failure> {
        Err(embed::unsupported("Anthropic"))
    }
}

/// Takes one event; true for the last.
fn take(event: Event, answer: &mut Answer<'_>, sink: &mut Sink<'_>) -> Result<bool, Failure> {
    match event {
        Event::MessageStart { message } => {
            answer.heard_from(message.id, message.model);
            if let Some(usage) = message.usage {
                answer.report(usage.of(None), false);
            }
        }
        Event::ContentBlockStart {
            index,
            content_block,
        } => match content_block {
            Block::Text { text } => answer.content(&text, sink)?,
            Block::Thinking { thinking } => answer.count(thinking.len())?,
            Block::ToolUse { id, name, input } => {
                let whole = input.filter(|input| input.as_object().is_some_and(|o| !o.is_empty()));
                let function = FunctionDelta {
                    name: Some(name),
                    arguments: whole,
                };
                answer.call(call(index, Some(id), function), sink)?;
            }
            Block::Other => {}
        },
        Event::ContentBlockDelta { index, delta } => match delta {
            Delta::Text { text } => answer.content(&text, sink)?,
            Delta::Thinking { thinking } => answer.count(thinking.len())?,
            Delta::InputJson { partial_json } => {
                let function = FunctionDelta {
                    name: None,
                    arguments: Some(partial_json.into()),
                };
                answer.call(call(index, None, function), sink)?;
            }
            Delta::Other => {}
        },
        Event::MessageDelta { delta, usage } => {
            if let Some(usage) = usage {
                answer.report(usage.of(answer.reported()), true);
            }
            if let Some(reason) = delta.stop_reason {
                answer.stopped(anthropic_wire::finish_reason(&reason));
            }
        }
        Event::MessageStop => return Ok(true),
        Event::Error { error } => return Err(anthropic_wire::failure(&error)),
        Event::Other => {}
    }
    Ok(false)
}

fn call(index: u32, id: Option<String>, function: FunctionDelta) -> CallDelta {
    CallDelta {
        index: Some(index),
        id,
        function: Some(function),
    }
}
