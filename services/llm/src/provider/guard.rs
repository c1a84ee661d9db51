//! What stands between the protocols and the network: one attempt, error answers read here with their
//! `Retry-After`, and bounds on what a server may send.
//!
//! The client crate of OpenAI's protocol by itself retries, reads error bodies of any size, logs them,
//! and drops `Retry-After`.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::config::Secret;
use super::error::{Failure, presentable};
use super::quota::QuotaSlot;
use super::wire::ErrorBody;

/// Most bytes that are read of an error's body.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Longest line of a stream.
const MAX_LINE_BYTES: usize = 4 << 20;
/// A stream repeats some 250 bytes around each token: bytes of it allowed for a byte of answer.
const STREAM_BYTES_A_BYTE: usize = 256;
/// Longest wait that is believed of a provider.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long the end of a stream is waited for, so that its connection can be used again.
const DRAIN: Duration = Duration::from_secs(1);

/// What happened to one call on the wire.
#[derive(Debug, Default)]
pub(super) struct Watch {
    sent: AtomicBool,
    refused: AtomicBool,
    /// Where what the answer's headers say of rate limits goes.
    quota: QuotaSlot,
    failure: Mutex<Option<Failure>>,
}

impl Watch {
    pub(super) fn telling(quota: &QuotaSlot) -> Self {
        Self {
            quota: quota.clone(),
            ..Self::default()
        }
    }

    /// Whether the provider may have worked, and so may bill.
    pub(super) fn is_billable(&self) -> bool {
        self.sent.load(Relaxed) && !self.refused.load(Relaxed)
    }

    /// The first failure that was seen below the client crate.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Forgets a refusal: the call is made again, for the first time as far as a bill is concerned.
    pub(super) fn reset(&self) {
        self.refused.store(false, Relaxed);
        self.sent.store(false, Relaxed);
        drop(self.failure());
    }

    fn fail(&self, failure: Failure) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
    }
}

/// One attempt's way to the provider; the HTTP service that the client crate is given, too.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) http: reqwest::Client,
    pub(super) watch: Arc<Watch>,
    pub(super) key: Option<Secret>,
    pub(super) max_answer_bytes: usize,
}

impl tower::Service<HttpRequestFactory> for Guard {
    type Response = Response;
    type Error = OpenAIError;
    type Future = BoxFuture<'static, Result<Response, OpenAIError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move {
            let mut request = factory.build().await?;
            // The crate's own header has no key in it.
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(key) = guard.key_header("Bearer ") {
                request.headers_mut().insert(AUTHORIZATION, key);
            }
            match guard.stream(request, b"[DONE]").await {
                Ok(body) => Ok(http::Response::new(reqwest::Body::wrap_stream(body)).into()),
                Err(failure) => {
                    guard.watch.fail(failure);
                    Err(OpenAIError::InvalidArgument(
                        "stopped by the guard".to_owned(),
                    ))
                }
            }
        })
    }
}

impl Guard {
    /// The key as a header's value that nothing prints.
    pub(super) fn key_header(&self, scheme: &str) -> Option<HeaderValue> {
        let key = self.key.as_ref()?.expose();
        let mut value = HeaderValue::from_str(&format!("{scheme}{key}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Sends a request whose answer is a stream that ends with `end`.
    pub(super) async fn stream(
        &self,
        request: Request,
        end: &'static [u8],
    ) -> Result<Bounded, Failure> {
        let response = self.send(request).await?;
        let kind = content_type(&response);
        if kind.is_some_and(|k| k.starts_with("application/json") || k.starts_with("text/html")) {
            let kind = presentable(kind.unwrap_or_default(), None);
            return Err(Failure::malformed(format!("{kind} instead of a stream")));
        }
        Ok(Bounded {
            inner: response.bytes_stream().boxed(),
            watch: self.watch.clone(),
            left: self.max_answer_bytes.saturating_mul(STREAM_BYTES_A_BYTE),
            line: 0,
            end,
            done: false,
            ended: false,
        })
    }

    /// Sends a request whose answer is one JSON document of at most `max_bytes`.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: Request,
        max_bytes: usize,
    ) -> Result<T, Failure> {
        let mut response = self.send(request).await?;
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) if body.len().saturating_add(bytes.len()) <= max_bytes => {
                    body.extend_from_slice(&bytes);
                }
                Ok(Some(_)) => {
                    return Err(Failure::malformed(format!("more than {max_bytes} bytes")));
                }
                Ok(None) => break,
                Err(error) => return Err(Failure::truncated(transport(&error))),
            }
        }
        serde_json::from_slice(&body)
            .map_err(|error| Failure::malformed(format!("no JSON of the protocol: {error}")))
    }

    async fn send(&self, request: Request) -> Result<Response, Failure> {
        self.watch.sent.store(true, Relaxed);
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.unanswered(&error)),
        };
        self.watch.quota.tell(response.headers());
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = ErrorBody::parse(&error_text(response).await);
        self.watch.refused.store(true, Relaxed);
        Err(refusal(status, &headers, body, self.key.as_ref()))
    }

    /// The request got no status line.
    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        if error.is_connect() || error.is_builder() {
            self.watch.refused.store(true, Relaxed);
        }
        Failure::transient(transport(error))
    }
}

fn content_type(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok()
}

/// A body that is read no further than its bounds.
pub(super) struct Bounded {
    inner: BoxStream<'static, reqwest::Result<Bytes>>,
    watch: Arc<Watch>,
    left: usize,
    /// Bytes of the line that is being read.
    line: usize,
    /// What the last event has.
    end: &'static [u8],
    /// It was seen: the reader will stop here.
    done: bool,
    ended: bool,
}

impl Stream for Bounded {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.inner.poll_next_unpin(cx)) {
            Some(Ok(bytes)) => Some(self.check(bytes)),
            Some(Err(error)) => {
                self.ended = true;
                self.watch.fail(Failure::truncated(transport(&error)));
                Some(Err(io::Error::other("the connection failed")))
            }
            None => {
                self.ended = true;
                None
            }
        })
    }
}

impl Bounded {
    fn check(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let after_break = bytes.iter().rev().position(|b| *b == b'\n');
        self.line = after_break.unwrap_or_else(|| self.line.saturating_add(bytes.len()));
        self.done |= bytes.windows(self.end.len()).any(|w| w == self.end);
        match self.left.checked_sub(bytes.len()) {
            Some(left) if self.line <= MAX_LINE_BYTES => {
                self.left = left;
                Ok(bytes)
            }
            _ => {
                self.watch.fail(Failure::malformed(
                    "the stream or one of its lines is too long",
                ));
                Err(io::Error::other("too long"))
            }
        }
    }
}

impl Drop for Bounded {
    /// The reader leaves at the last event, a few bytes before the body's end. A connection whose body was
    /// not read to its end is closed, and the next call pays for a new one.
    fn drop(&mut self) {
        if !self.done || self.ended {
            return;
        }
        let mut inner = std::mem::replace(&mut self.inner, futures_util::stream::empty().boxed());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Only the end is waited for: a server that still sends has its connection closed.
                let _ = tokio::time::timeout(DRAIN, inner.next()).await;
            });
        }
    }
}

async fn error_text(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    body.truncate(MAX_ERROR_BYTES);
    String::from_utf8_lossy(&body).into_owned()
}

fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: ErrorBody,
    key: Option<&Secret>,
) -> Failure {
    let message = presentable(&body.message, key);
    let code = body.code.map(|code| presentable(&code, key));
    let out_of_money = matches!(
        code.as_deref(),
        Some("insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active")
    );
    let passing = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status.as_u16(), 408 | 409 | 425 | 429);
    let number = status.as_u16();
    let status = Some(number);
    if passing && !out_of_money {
        return Failure::Transient {
            status,
            retry_after: retry_after(headers),
            message,
        };
    }
    let code = code.unwrap_or_else(|| format!("http_{number}"));
    Failure::Permanent {
        status,
        code,
        message,
    }
}

/// `retry-after-ms` as OpenAI sends it, else `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::trim)
    };
    let milliseconds = text("retry-after-ms").and_then(|v| v.parse().ok());
    let wait = milliseconds.map(Duration::from_millis).or_else(|| {
        let value = text(RETRY_AFTER.as_str())?;
        let seconds = value.parse::<f64>().ok().map(Duration::try_from_secs_f64);
        seconds.and_then(Result::ok).or_else(|| until(value))
    });
    wait.map(|wait| wait.min(MAX_RETRY_AFTER))
}

fn until(date: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A transport error in words, without the address: it may hold what nobody should read.
fn transport(error: &reqwest::Error) -> String {
    let what = match error {
        e if e.is_connect() => "the connection was not established",
        e if e.is_timeout() => "nothing came for too long",
        e if e.is_body() || e.is_decode() => "the connection broke in the middle",
        _ => "the request could not be completed",
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    presentable(&format!("{what}: {cause}"), None)
}
