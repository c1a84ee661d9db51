//! The way to a receiver. Names are resolved here, each time that a connection is made, and only to
//! addresses that webhooks may reach; so that neither a name nor an answer leads anywhere else. No
//! redirect is followed, no proxy asked, and of an answer the status counts.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nexus_events::webhook::{Reach, WebhookSecret};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::timeout;

use crate::message::Message;

const AGENT: &str = concat!("nexus-webhooks/", env!("CARGO_PKG_VERSION"));
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 2;
/// So much of an answer is read, so that its connection can serve again.
const MOST_ANSWER_BYTES: usize = 16 * 1024;
const DRAIN_LIMIT: Duration = Duration::from_millis(250);
const MOST_ADDRESSES: usize = 16;

/// Sends messages.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    client: reqwest::Client,
    reach: Arc<Reach>,
    limit: Duration,
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The receiver's answer, where there was one.
    pub(crate) status: Option<u16>,
    /// What was wrong, without the address, which may hold secrets.
    pub(crate) reason: String,
    /// The pause that it asks for, of all messages.
    pub(crate) asked_ms: Option<u64>,
}

impl Fault {
    /// Whether the receiver wants no more, ever.
    pub(crate) fn is_gone(&self) -> bool {
        self.status == Some(410)
    }

    fn of(reason: impl Into<String>) -> Self {
        Self {
            status: None,
            reason: reason.into(),
            asked_ms: None,
        }
    }
}

impl Post {
    /// By these rules.
    ///
    /// # Errors
    /// There is no TLS on this machine.
    pub(crate) fn new(reach: Arc<Reach>, limit: Duration) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .dns_resolver(Guarded(Arc::clone(&reach)))
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(MOST_IDLE)
            .pool_idle_timeout(IDLE_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .user_agent(AGENT)
            .build()
            .map_err(|cause| cause.to_string())?;
        Ok(Self {
            client,
            reach,
            limit,
        })
    }

    /// The same with less patience.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self {
            limit: self.limit.min(limit),
            ..self.clone()
        }
    }

    /// Sends a message once; gives the status with which it was taken.
    pub(crate) async fn send(
        &self,
        to: &str,
        message: &Message,
        secrets: &[WebhookSecret],
        now_s: i64,
    ) -> Result<u16, Fault> {
        // What is allowed may have changed since the webhook was made; and an address needs no name.
        let (url, _) = (self.reach.url(to)).map_err(|refused| Fault::of(refused.to_string()))?;
        let signatures: Vec<String> = (secrets.iter())
            .map(|secret| secret.sign(&message.id, now_s, &message.body))
            .collect();
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now_s)
            .header("webhook-signature", signatures.join(" "))
            .body(message.body.clone());
        match timeout(self.limit, exchange(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Fault::of(format!(
                "no answer within {} ms",
                self.limit.as_millis()
            ))),
        }
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<u16, Fault> {
    let mut answer = request.send().await.map_err(|cause| failed(&cause))?;
    let status = answer.status();
    let asked_ms = match status.as_u16() {
        429 | 503 => retry_after(answer.headers()),
        _ => None,
    };
    // The status is the answer; one that goes on without end ends its connection and nothing else.
    let _ = timeout(DRAIN_LIMIT, drain(&mut answer)).await;
    match status.is_success() {
        true => Ok(status.as_u16()),
        false => Err(Fault {
            status: Some(status.as_u16()),
            reason: match status.is_redirection() {
                true => format!("the receiver answered {status}; redirects are not followed"),
                false => format!("the receiver answered {status}"),
            },
            asked_ms,
        }),
    }
}

async fn drain(answer: &mut reqwest::Response) {
    let mut read = 0;
    while read < MOST_ANSWER_BYTES {
        match answer.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let wait = until.duration_since(SystemTime::now()).ok()?;
    Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

fn failed(cause: &reqwest::Error) -> Fault {
    let mut deepest: &dyn std::error::Error = cause;
    loop {
        if let Some(refused) = deepest.downcast_ref::<Refused>() {
            return Fault::of(refused.0.clone());
        }
        match deepest.source() {
            Some(source) => deepest = source,
            None => break,
        }
    }
    let what = match cause.is_connect() {
        true => "the receiver cannot be reached",
        false => "the exchange with the receiver broke off",
    };
    let words: String = deepest.to_string().chars().take(200).collect();
    Fault::of(format!("{what}: {words}"))
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|cause| cause.to_string())?;
    Ok(config.with_no_client_auth())
}

/// The resolver of the machine, without what webhooks may not reach.
struct Guarded(Arc<Reach>);

/// A name that leads nowhere that may be reached.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (mut good, mut refused) = (vec![], None);
            for address in found.take(MOST_ADDRESSES) {
                match reach.check(address.ip()) {
                    Ok(()) => good.push(address),
                    Err(reason) => refused = Some(reason),
                }
            }
            // What is left is all that is connected to.
            match (good.is_empty(), refused) {
                (true, Some(reason)) => Err(Refused(reason).into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    /// A name that leads to where webhooks may not go is refused when it is resolved, whoever asks.
    #[tokio::test]
    async fn a_name_of_a_private_address_is_not_called() {
        let found = Guarded(Arc::default())
            .resolve("localhost".parse().unwrap())
            .await;
        let refused = found.err().unwrap();
        assert!(refused.is::<Refused>() && refused.to_string().contains("allow_private"));
        let open = Reach::new(true, &["127.0.0.0/8".to_owned(), "::1".to_owned()]).unwrap();
        let found = Guarded(Arc::new(open))
            .resolve("localhost".parse().unwrap())
            .await;
        assert!(found.is_ok_and(|mut found| found.next().is_some()));

        // Whole: the client says so, and no connection is made.
        let post = Post::new(Arc::default(), Duration::from_secs(5)).unwrap();
        let asked = post.client.get("https://localhost:1/").send().await;
        let fault = failed(&asked.unwrap_err());
        assert!(fault.reason.contains("allow_private"), "{fault:?}");
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, reqwest::header::HeaderValue::from_static(text));
            retry_after(&headers)
        };
        assert_eq!(asked("7"), Some(7_000));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), None, "it is past");
        let later = asked("Wed, 21 Oct 2099 07:28:00 GMT");
        assert!(later.is_some_and(|ms| ms > 1_000_000_000));
    }
}
