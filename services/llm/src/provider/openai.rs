//! The OpenAI chat-completions protocol, at OpenAI or any server that speaks it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::{Config, OpenAIConfig};
use async_openai::error::OpenAIError;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::answer::Answer;
use super::config::{ProviderConfig, Secret};
use super::environment::OPENAI_BASE;
use super::error::{Failure, ProviderError, presentable};
use super::guard::{Guard, Watch};
use super::local::EndpointResolver;
use super::models::ConfigError;
use super::wire::{Body, Chunk};
use super::{CallLimits, ChatRequest, Completion, Provider, Sink};

/// How long the usage may still take once the model has said that it is done.
const USAGE_GRACE: Duration = Duration::from_secs(2);

type Shared = Arc<dyn Config>;

/// A provider that speaks the protocol.
pub struct OpenAiProvider {
    name: String,
    http: reqwest::Client,
    key: Option<Secret>,
    address: Address,
    calls_in_text: bool,
    max_answer_bytes: usize,
}

enum Address {
    Fixed {
        config: Shared,
        at_openai: bool,
    },
    /// Asked before every call; the last answer is kept for as long as it stays the same.
    Resolved {
        resolver: EndpointResolver,
        last: Mutex<Option<(String, Shared)>>,
    },
}

impl OpenAiProvider {
    /// A provider at the configured base URL.
    pub fn new(config: &ProviderConfig) -> Result<Self, ConfigError> {
        let base = config
            .base_url
            .as_deref()
            .unwrap_or(OPENAI_BASE)
            .trim_end_matches('/');
        let unusable = |reason| ConfigError::BaseUrl {
            provider: config.name.clone(),
            reason,
        };
        let url = parse(base).map_err(unusable)?;
        let key = usable_key(config)?;
        let address = Address::Fixed {
            config: client_config(base, key.as_ref()),
            at_openai: is_openai(&url),
        };
        Self::build(
            config,
            http_client(config, &Reach::of(&url))?,
            key,
            address,
            false,
        )
    }

    /// A provider whose base URL is asked for before every call.
    pub(super) fn resolved(
        config: &ProviderConfig,
        resolver: EndpointResolver,
    ) -> Result<Self, ConfigError> {
        let key = usable_key(config)?;
        let address = Address::Resolved {
            resolver,
            last: Mutex::new(None),
        };
        Self::build(
            config,
            http_client(config, &Reach::LOCAL)?,
            key,
            address,
            true,
        )
    }

    fn build(
        config: &ProviderConfig,
        http: reqwest::Client,
        key: Option<Secret>,
        address: Address,
        calls_in_text: bool,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            name: config.name.clone(),
            http,
            key,
            address,
            calls_in_text: config.tool_calls_in_text.unwrap_or(calls_in_text),
            max_answer_bytes: config.max_answer_bytes,
        })
    }

    async fn call(
        &self,
        request: &ChatRequest,
        limits: &CallLimits,
        sink: &mut Sink<'_>,
    ) -> Result<Completion, ProviderError> {
        let mut answer = Answer::new(request, self.max_answer_bytes, self.calls_in_text);
        // The timer below is a millisecond coarse: what has passed must not be sent at all.
        if limits
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(answer.fail(Failure::DeadlineExceeded, false));
        }
        let watch = Arc::new(Watch::telling(&limits.quota));
        let deadline = async {
            match limits.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            () = limits.cancel.cancelled() => Err(Failure::Cancelled),
            () = deadline => Err(Failure::DeadlineExceeded),
            outcome = self.stream(request, &mut answer, &watch, sink) => outcome,
        };
        match outcome {
            Ok(()) => answer.complete(sink),
            // All of it was there: an answer is not thrown away for what would have come after it.
            Err(failure) if answer.is_finished() => {
                tracing::debug!(provider = %self.name, %failure, "a call failed after its answer");
                answer.complete(sink)
            }
            Err(failure) => Err(answer.fail(failure, watch.is_billable())),
        }
    }

    /// Sends the request and feeds the answer until the stream ends.
    async fn stream(
        &self,
        request: &ChatRequest,
        answer: &mut Answer<'_>,
        watch: &Arc<Watch>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let (config, at_openai) = self.address.config(self.key.as_ref()).await?;
        let guard = Guard {
            http: self.http.clone(),
            watch: watch.clone(),
            key: self.key.clone(),
            max_answer_bytes: self.max_answer_bytes,
        };
        let client = Client::build(self.http.clone(), config).with_http_service(guard);
        let body = Body::new(request, at_openai);
        let failed = |error: OpenAIError| watch.failure().unwrap_or_else(|| self.failure(&error));
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
                Some(chunk) => answer
                    .take(chunk.map_err(failed)?, sink)
                    .map_err(|f| self.cut(f))?,
                None if answer.is_finished() => return Ok(()),
                None => return Err(Failure::truncated("it ended without a finish reason")),
            }
        }
    }

    /// A failure that the client crate found by itself: what it could not read.
    fn failure(&self, error: &OpenAIError) -> Failure {
        let message = match error {
            OpenAIError::JSONDeserialize(error, _) => format!("no JSON of the protocol: {error}"),
            OpenAIError::Reqwest(_) => return Failure::transient("the request failed"),
            other => other.to_string(),
        };
        Failure::malformed(presentable(&message, self.key.as_ref()))
    }

    /// A failure told within the stream, its message cut like every other.
    fn cut(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Transient {
                status,
                retry_after,
                message,
            } => {
                let message = presentable(&message, self.key.as_ref());
                Failure::Transient {
                    status,
                    retry_after,
                    message,
                }
            }
            other => other,
        }
    }
}

impl Provider for OpenAiProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn complete<'a>(
        &'a self,
        request: &'a ChatRequest,
        limits: &'a CallLimits,
        sink: &'a mut Sink<'_>,
    ) -> BoxFuture<'a, Result<Completion, ProviderError>> {
        Box::pin(self.call(request, limits, sink))
    }
}

impl Address {
    async fn config(&self, key: Option<&Secret>) -> Result<(Shared, bool), Failure> {
        let (resolver, last) = match self {
            Self::Fixed { config, at_openai } => return Ok((config.clone(), *at_openai)),
            Self::Resolved { resolver, last } => (resolver, last),
        };
        let unavailable = |message: String| Failure::Permanent {
            status: None,
            code: "model_unavailable".to_owned(),
            message: presentable(&message, key),
        };
        let base = resolver().await.map_err(unavailable)?;
        let base = base.trim_end_matches('/').to_owned();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, config)) if *known == base => Ok((config.clone(), false)),
            _ => {
                parse(&base).map_err(unavailable)?;
                let config = client_config(&base, key);
                *last = Some((base, config.clone()));
                Ok((config, false))
            }
        }
    }
}

/// The crate's own defaults come from the environment; all of them are replaced.
fn client_config(base: &str, key: Option<&Secret>) -> Shared {
    let config = OpenAIConfig::default()
        .with_api_base(base)
        .with_api_key(key.map_or("", Secret::expose))
        .with_org_id("")
        .with_project_id("");
    Arc::new(config)
}

fn parse(base: &str) -> Result<Url, String> {
    let url = Url::parse(base).map_err(|e| e.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must begin with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user or a password".to_owned());
    }
    Ok(url)
}

/// How a server is reached.
struct Reach {
    /// Proxies of the environment are not for this machine.
    direct: bool,
    /// Connections that are kept, and for how long.
    idle_connections: usize,
    idle: Duration,
}

impl Reach {
    /// llama.cpp promises to keep connections and closes each one after its answer.
    const LOCAL: Self = Self {
        direct: true,
        idle_connections: 0,
        idle: Duration::ZERO,
    };

    /// Many servers close what was idle for 5 s, and a call that meets this fails; OpenAI keeps it.
    fn of(url: &Url) -> Self {
        Self {
            direct: matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
            idle_connections: usize::MAX,
            idle: Duration::from_secs(if is_openai(url) { 60 } else { 4 }),
        }
    }
}

fn is_openai(url: &Url) -> bool {
    url.host_str() == Some("api.openai.com")
}

/// The key without the line break that files and pipes add; the client crate panics on others.
fn usable_key(config: &ProviderConfig) -> Result<Option<Secret>, ConfigError> {
    let Some(key) = config.api_key.as_ref().map(|key| key.expose().trim()) else {
        return Ok(None);
    };
    if HeaderValue::from_str(key).is_err() {
        return Err(ConfigError::UnusableKey(config.name.clone()));
    }
    Ok((!key.is_empty()).then(|| Secret::from(key.to_owned())))
}

/// One pool of connections a provider. Redirects are not followed: the key would follow too.
fn http_client(config: &ProviderConfig, reach: &Reach) -> Result<reqwest::Client, ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(ConfigError::NoTls);
    }
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .read_timeout(Duration::from_millis(config.idle_timeout_ms))
        .pool_max_idle_per_host(reach.idle_connections)
        .pool_idle_timeout(reach.idle)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")));
    let builder = if reach.direct {
        builder.no_proxy()
    } else {
        builder
    };
    let failed = |source| ConfigError::Client {
        provider: config.name.clone(),
        source,
    };
    builder.build().map_err(failed)
}
