//! What every provider behind HTTP shares: one attempt, its limits, its key, and what is left of it
//! when it fails. A protocol only says how a request is written and an answer read ([`Wire`]); a new
//! one is a file with that, and a line in [`connect`].

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::answer::Answer;
use super::anthropic::Anthropic;
use super::config::{ProviderConfig, ProviderKind, Secret};
use super::credential::Credential;
use super::embed::{EmbedRequest, Embeddings};
use super::error::{Failure, Partial, ProviderError, presentable};
use super::guard::{Guard, Watch};
use super::http::{self, Reach};
use super::local::{EndpointResolver, LocalProvider};
use super::models::ConfigError;
use super::openai::OpenAi;
use super::{CallLimits, ChatRequest, Completion, Provider, Sink};

/// Everything that can be configured as a provider.
pub(super) fn connect(
    config: &ProviderConfig,
    local: Option<&EndpointResolver>,
) -> Result<Arc<dyn Provider>, ConfigError> {
    Ok(match config.kind {
        ProviderKind::Openai => Arc::new(Remote::<OpenAi>::new(config)?),
        ProviderKind::Anthropic => Arc::new(Remote::<Anthropic>::new(config)?),
        ProviderKind::Local => {
            let none = || ConfigError::NoLocalModel(config.name.clone());
            let endpoint = local.ok_or_else(none)?;
            Arc::new(LocalProvider::new(config, endpoint.clone())?)
        }
    })
}

/// A protocol over HTTP.
pub(super) trait Wire: Send + Sync + Sized + 'static {
    /// Reads what the protocol needs of the configuration, and says how its server is reached.
    fn new(config: &ProviderConfig) -> Result<(Self, Reach), ConfigError>;

    /// Sends the request and feeds the answer until the stream ends.
    fn stream(
        &self,
        guard: &Guard,
        request: &ChatRequest,
        answer: &mut Answer<'_>,
        sink: &mut Sink<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes vectors of texts.
    fn embed(
        &self,
        guard: &Guard,
        request: &EmbedRequest,
    ) -> impl Future<Output = Result<Embeddings, Failure>> + Send;
}

/// A provider that speaks the protocol `W`.
pub(super) struct Remote<W> {
    name: String,
    http: reqwest::Client,
    credential: Credential,
    wire: W,
    calls_in_text: bool,
    max_answer_bytes: usize,
}

impl<W: Wire> Remote<W> {
    /// A provider at the configured base URL.
    pub(super) fn new(config: &ProviderConfig) -> Result<Self, ConfigError> {
        let (wire, reach) = W::new(config)?;
        Self::with(config, wire, &reach, false)
    }

    /// The same with a protocol that was made before; `calls_in_text` unless configured otherwise.
    pub(super) fn with(
        config: &ProviderConfig,
        wire: W,
        reach: &Reach,
        calls_in_text: bool,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            name: config.name.clone(),
            http: http::client(config, reach)?,
            credential: Credential::new(config)?,
            wire,
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
        let watch = Arc::new(Watch::telling(&limits.quota));
        let outcome = within(limits, self.attempt(request, &mut answer, &watch, sink)).await;
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

    async fn attempt(
        &self,
        request: &ChatRequest,
        answer: &mut Answer<'_>,
        watch: &Arc<Watch>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Failure> {
        let guard = self.guard(self.credential.current().await, watch);
        let failure = match self.wire.stream(&guard, request, answer, sink).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // Nothing was generated and nothing is billed: with a key that was changed meanwhile this is
        // still the first attempt.
        if let Some(guard) = self.renewed(&failure, guard.key.as_ref(), watch).await {
            let again = self.wire.stream(&guard, request, answer, sink).await;
            return again.map_err(|failure| shown(failure, guard.key.as_ref()));
        }
        Err(shown(failure, guard.key.as_ref()))
    }

    async fn vectors(
        &self,
        request: &EmbedRequest,
        limits: &CallLimits,
    ) -> Result<Embeddings, ProviderError> {
        let watch = Arc::new(Watch::telling(&limits.quota));
        let attempt = async {
            let guard = self.guard(self.credential.current().await, &watch);
            let failure = match self.wire.embed(&guard, request).await {
                Ok(embeddings) => return Ok(embeddings),
                Err(failure) => failure,
            };
            if let Some(guard) = self.renewed(&failure, guard.key.as_ref(), &watch).await {
                let again = self.wire.embed(&guard, request).await;
                return again.map_err(|failure| shown(failure, guard.key.as_ref()));
            }
            Err(shown(failure, guard.key.as_ref()))
        };
        within(limits, attempt).await.map_err(|failure| {
            let usage = watch.is_billable().then(|| request.bound());
            let partial = Partial {
                usage: usage.unwrap_or_default(),
                ..Partial::default()
            };
            ProviderError {
                failure,
                partial: Box::new(partial),
            }
        })
    }

    fn guard(&self, key: Option<Secret>, watch: &Arc<Watch>) -> Guard {
        Guard {
            http: self.http.clone(),
            watch: watch.clone(),
            key,
            max_answer_bytes: self.max_answer_bytes,
        }
    }

    /// Another key, where this one was refused and was changed meanwhile.
    async fn renewed(
        &self,
        failure: &Failure,
        refused: Option<&Secret>,
        watch: &Arc<Watch>,
    ) -> Option<Guard> {
        let status = match failure {
            Failure::Permanent { status, .. } => *status,
            _ => None,
        };
        if !matches!(status, Some(401 | 403)) {
            return None;
        }
        let key = self.credential.instead_of(refused).await?;
        watch.reset();
        Some(self.guard(Some(key), watch))
    }
}

impl<W: Wire> Provider for Remote<W> {
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

    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        limits: &'a CallLimits,
    ) -> BoxFuture<'a, Result<Embeddings, ProviderError>> {
        Box::pin(self.vectors(request, limits))
    }
}

/// What the work comes to, unless it is cancelled or its time is over before.
async fn within<T>(
    limits: &CallLimits,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // The timer below is a millisecond coarse: what has passed must not be sent at all.
    if (limits.deadline).is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(Failure::DeadlineExceeded);
    }
    let deadline = async {
        match limits.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = limits.cancel.cancelled() => Err(Failure::Cancelled),
        () = deadline => Err(Failure::DeadlineExceeded),
        outcome = work => outcome,
    }
}

/// The failure with every word of the provider's cut and cleaned.
fn shown(failure: Failure, key: Option<&Secret>) -> Failure {
    let clean = |message: String| presentable(&message, key);
    match failure {
        Failure::Transient {
            status,
            retry_after,
            message,
        } => Failure::Transient {
            status,
            retry_after,
            message: clean(message),
        },
        Failure::Permanent {
            status,
            code,
            message,
        } => Failure::Permanent {
            status,
            code: clean(code),
            message: clean(message),
        },
        Failure::Truncated { message } => Failure::truncated(clean(message)),
        Failure::Malformed { message } => Failure::malformed(clean(message)),
        Failure::Cancelled | Failure::DeadlineExceeded => failure,
    }
}
