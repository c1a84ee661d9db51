//! The provider against a server that speaks the protocol, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod bills;
mod faults;
mod registry;

use std::time::Duration;

use nexus_events::model::{Message, ToolSpec};
use nexus_modelserver::{ModelServer, Options, Reply, Script};
use serde_json::json;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const KEY: &str = "sk-test-0123456789";

struct Setup {
    server: ModelServer,
    provider: OpenAiProvider,
}

async fn setup(replies: impl IntoIterator<Item = Reply>) -> Setup {
    setup_with(replies, |_| {}).await
}

async fn setup_with(
    replies: impl IntoIterator<Item = Reply>,
    change: impl FnOnce(&mut ProviderConfig),
) -> Setup {
    install_tls();
    let options = Options {
        script: Script::queue(replies),
        ..Options::default()
    };
    let server = ModelServer::start(options).await.unwrap();
    let mut config = ProviderConfig::new("peer", ProviderKind::Openai);
    config.base_url = Some(server.base_url());
    config.api_key = Some(KEY.to_owned().into());
    change(&mut config);
    Setup {
        provider: OpenAiProvider::new(&config).unwrap(),
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
