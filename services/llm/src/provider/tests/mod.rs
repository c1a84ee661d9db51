//! The provider against a server that speaks the protocol, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

/// Runs the cases against each wire: a provider that speaks another one has to pass them all.
macro_rules! on_each_wire {
    ($($case:ident),* $(,)?) => {
        mod openai {
            $(#[tokio::test] async fn $case() { super::$case(super::Wire::Openai).await })*
        }
        mod anthropic {
            $(#[tokio::test] async fn $case() { super::$case(super::Wire::Anthropic).await })*
        }
    };
}

mod answers;
mod anthropic_body;
mod bills;
mod capabilities;
mod cuts;
mod embeddings;
mod faults;
mod keys;
mod registry;
mod structure;

use std::sync::Arc;
use std::time::Duration;

use nexus_events::model::{Message, ToolSpec};
use nexus_modelserver::{ModelServer, Options, Reply, Script, Sent};
use serde_json::json;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const KEY: &str = "sk-test-0123456789";

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Openai,
    Anthropic,
}

impl Wire {
    fn kind(self) -> ProviderKind {
        match self {
            Self::Openai => ProviderKind::Openai,
            Self::Anthropic => ProviderKind::Anthropic,
        }
    }

    /// Pieces of a stream before the first of its text.
    fn before_text(self) -> usize {
        match self {
            // The role.
            Self::Openai => 1,
            // The message begins, a ping, the block begins.
            Self::Anthropic => 3,
        }
    }

    /// How the key arrives.
    fn sent_key(self, key: &str) -> String {
        match self {
            Self::Openai => format!("Bearer {key}"),
            Self::Anthropic => key.to_owned(),
        }
    }
}

struct Setup {
    server: ModelServer,
    provider: Arc<dyn Provider>,
}

async fn setup(wire: Wire, replies: impl IntoIterator<Item = Reply>) -> Setup {
    setup_with(wire, replies, |_| {}).await
}

async fn setup_with(
    wire: Wire,
    replies: impl IntoIterator<Item = Reply>,
    change: impl FnOnce(&mut ProviderConfig),
) -> Setup {
    install_tls();
    let options = Options {
        script: Script::queue(replies),
        ..Options::default()
    };
    let server = ModelServer::start(options).await.unwrap();
    let mut config = ProviderConfig::new("peer", wire.kind());
    config.base_url = Some(server.base_url());
    config.api_key = Some(KEY.to_owned().into());
    change(&mut config);
    Setup {
        provider: remote::connect(&config, None).unwrap(),
        server,
    }
}

fn install_tls() {
    // A second test finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn ask(model: &str, text: &str) -> ChatRequest {
    ChatRequest {
        model: model.to_owned(),
        messages: vec![
            Message::System {
                text: "Be brief.".into(),
            },
            Message::User {
                text: text.to_owned(),
            },
        ],
        max_tokens: 1_000,
        ..ChatRequest::default()
    }
}

fn with_calculator(mut request: ChatRequest) -> ChatRequest {
    request.tools.push(ToolSpec {
        name: "calculator".into(),
        description: "Evaluates an arithmetic expression".into(),
        parameters: json!({ "type": "object", "required": ["expression"],
            "properties": { "expression": { "type": "string" } } }),
    });
    request
}

/// What a listener heard.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    text: String,
    /// Arguments by index.
    arguments: Vec<String>,
    fragments: usize,
}

impl Heard {
    fn hear(&mut self, delta: Delta<'_>) {
        self.fragments += 1;
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::ToolCall {
                index, arguments, ..
            } => {
                self.arguments
                    .resize(self.arguments.len().max(index + 1), String::new());
                self.arguments[index].push_str(arguments);
            }
        }
    }
}

impl Setup {
    async fn complete(&self, request: &ChatRequest) -> (Result<Completion, ProviderError>, Heard) {
        self.complete_within(request, &CallLimits::default()).await
    }

    /// What the server says that the last request got.
    fn sent(&self) -> Sent {
        self.server.sent().pop().unwrap_or_default()
    }

    async fn complete_within(
        &self,
        request: &ChatRequest,
        limits: &CallLimits,
    ) -> (Result<Completion, ProviderError>, Heard) {
        let mut heard = Heard::default();
        let mut sink = |delta: Delta<'_>| heard.hear(delta);
        let call = self.provider.complete(request, limits, &mut sink);
        let outcome = tokio::time::timeout(PATIENCE, call).await.unwrap();
        (outcome, heard)
    }

    async fn fails(&self, request: &ChatRequest) -> ProviderError {
        self.complete(request).await.0.unwrap_err()
    }
}

fn after(millis: u64) -> CallLimits {
    let deadline = Some(Instant::now() + Duration::from_millis(millis));
    CallLimits {
        deadline,
        ..CallLimits::default()
    }
}
