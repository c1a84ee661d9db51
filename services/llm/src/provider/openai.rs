//! The OpenAI chat-completions protocol, at OpenAI or any server that speaks it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::{Config, OpenAIConfig};
use async_openai::error::OpenAIError;
use futures_util::StreamExt;

use super::answer::Answer;
use super::config::ProviderConfig;
use super::embed::{self, EmbedRequest, Embeddings};
use super::environment::OPENAI_BASE;
use super::error::Failure;
use super::guard::Guard;
use super::http::{self, Reach};
use super::local::EndpointResolver;
use super::models::ConfigError;
use super::remote::Wire;
use super::wire::{Body, Chunk};
use super::{ChatRequest, Sink, openai_embed};

/// How long the usage may still take once the model has said that it is done.
const USAGE_GRACE: Duration = Duration::from_secs(2);

type Shared = Arc<dyn Config>;

/// The protocol at one address.
pub(super) struct OpenAi {
    address: Address,
}

enum Address {
    Fixed {
        base: String,
        config: Shared,
        at_openai: bool,
    },
    /// Asked before every call; the last answer is kept for as long as it stays the same.
    Resolved {
        resolver: EndpointResolver,
        last: Mutex<Option<(String, Shared)>>,
    },
}

impl OpenAi {
    /// The protocol at an address that is asked for before every call.
    pub(super) fn resolved(resolver: EndpointResolver) -> Self {
        let address = Address::Resolved {
            resolver,
            last: Mutex::new(None),
        };
        Self { address }
    }
}

impl Wire for OpenAi {
    fn new(config: &ProviderConfig) -> Result<(Self, Reach), ConfigError> {
        let (base, url) = http::base(config, OPENAI_BASE)?;
        let address = Address::Fixed {
            config: client_config(&base),
            at_openai: url.host_str() == Some("api.openai.com"),
            base,
        };
        Ok((Self { address }, Reach::of(&url)))
    }

    async fn stream(
        &self,
        guard: &Guard,
        request: &ChatRequest,
        answer: &mut Answer<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let (config, at_openai) = self.address.config().await?;
        let client = Client::build(guard.http.clone(), config).with_http_service(guard.clone());
        let body = Body::new(request, at_openai);
        let failed = |error: OpenAIError| guard.watch.failure().unwrap_or_else(|| failure(&error));
        let mut chunks = client
            .chat()
            .create_stream_byot::<_, Chunk>(body)
            .await
            .map_err(failed)?;
        loop {
            let next = chunks.next();
            let next = match answer.is_finished() {
                true => tokio::time::timeout(USAGE_GRACE, next)
                    .await
                    .unwrap_or(None),
                false => next.await,
            };
            match next {
                Some(chunk) => answer.take(chunk.map_err(failed)?, sink)?,
                None if answer.is_finished() => return Ok(()),
                None => return Err(Failure::truncated("it ended without a finish reason")),
            }
        }
    }

    async fn embed(&self, guard: &Guard, request: &EmbedRequest) -> Result<Embeddings, Failure> {
        let Address::Fixed { base, .. } = &self.address else {
            return Err(embed::unsupported("the local model"));
        };
        openai_embed::embed(base, guard, request).await
    }
}

/// A failure that the client crate found by itself: what it could not read.
fn failure(error: &OpenAIError) -> Failure {
    match error {
        OpenAIError::JSONDeserialize(error, _) => {
            Failure::malformed(format!("no JSON of the protocol: {error}"))
        }
        OpenAIError::Reqwest(_) => Failure::transient("the request failed"),
        other => Failure::malformed(other.to_string()),
    }
}

impl Address {
    async fn config(&self) -> Result<(Shared, bool), Failure> {
        let (resolver, last) = match self {
            Self::Fixed {
                config, at_openai, ..
            } => return Ok((config.clone(), *at_openai)),
            Self::Resolved { resolver, last } => (resolver, last),
        };
        let unavailable = |message: String| Failure::Permanent {
            status: None,
            code: "model_unavailable".to_owned(),
            message,
        };
        let base = resolver().await.map_err(unavailable)?;
        let base = base.trim_end_matches('/').to_owned();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, config)) if *known == base => Ok((config.clone(), false)),
            _ => {
                http::parse(&base).map_err(unavailable)?;
                let config = client_config(&base);
                *last = Some((base, config.clone()));
                Ok((config, false))
            }
        }
    }
}

/// The crate's own defaults come from the environment; all of them are replaced. The key is not for
/// the crate: the guard sends the one that is in force.
fn client_config(base: &str) -> Shared {
    let config = OpenAIConfig::default()
        .with_api_base(base)
        .with_api_key("")
        .with_org_id("")
        .with_project_id("");
    Arc::new(config)
}
