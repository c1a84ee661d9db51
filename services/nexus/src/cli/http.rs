//! The gateway, called. Answers are bounded, and what is not a problem document is turned into one
//! error with the address in it.

use std::time::Duration;

use futures_util::StreamExt;
use nexus_events::Problem;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::endpoint::Connection;
use super::error::{CliError, chain};

/// More than a page of runs with their texts has.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that the gateway lets a caller wait, and some.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// The gateway says something on a stream at least every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// A client of one gateway, for one tenant and user.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: reqwest::Client,
    base: Url,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request<'a> {
    /// The path's segments after the base; escaped here.
    pub(crate) path: &'a [&'a str],
    /// Query parameters; those without a value are left out.
    pub(crate) query: &'a [(&'a str, Option<String>)],
    /// Headers of this request alone.
    pub(crate) headers: &'a [(&'static str, String)],
}

impl<'a> Request<'a> {
    /// A path alone.
    pub(crate) fn at(path: &'a [&'a str]) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }
}

impl Gateway {
    /// Finds the gateway; does not call it yet.
    ///
    /// # Errors
    /// An address, tenant or user that cannot be used.
    pub(crate) fn new(connection: &Connection) -> Result<Self, CliError> {
        let url = connection.gateway_url()?;
        let bad = |reason: &str| CliError::Usage(format!("{url:?} is no address: {reason}"));
        let base = Url::parse(&url).map_err(|error| bad(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(bad("it must begin with http:// or https://"));
        }
        let mut headers = HeaderMap::new();
        let credential = connection.credential().map(|key| format!("Bearer {key}"));
        if let Some(credential) = &credential {
            let mut value = HeaderValue::from_str(credential).map_err(|_| {
                CliError::Usage("the API key cannot be sent in a header".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut set = |name: &'static str, value: &Option<String>| {
            let Some(text) = value else { return Ok(()) };
            let value = HeaderValue::from_str(text)
                .map_err(|_| CliError::Usage(format!("{text:?} cannot be sent as {name}")))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        set("nexus-tenant", &connection.tenant)?;
        set("nexus-user", &connection.user)?;
        let roles = (!connection.roles.is_empty()).then(|| connection.roles.join(","));
        set("nexus-roles", &roles)?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| CliError::Usage(chain(&error)))?;
        Ok(Self { client, base })
    }

    /// The gateway's address.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// GET, as JSON.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        request: Request<'_>,
    ) -> Result<T, CliError> {
        self.json(Method::GET, request, None::<&Value>).await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        request: Request<'_>,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.json(Method::POST, request, Some(body)).await
    }

    /// PUT of a JSON body.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        request: Request<'_>,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.json(Method::PUT, request, Some(body)).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn delete<T: DeserializeOwned>(
        &self,
        request: Request<'_>,
    ) -> Result<T, CliError> {
        self.json(Method::DELETE, request, None::<&Value>).await
    }

    /// GET of an event stream; what comes is the caller's to read.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn stream(&self, request: Request<'_>) -> Result<Response, CliError> {
        self.open(request, "text/event-stream").await
    }

    /// GET of lines of JSON; each piece that comes is given to `take`.
    ///
    /// # Errors
    /// [`CliError`]; what came before is whole lines but for the last one.
    pub(crate) async fn lines(
        &self,
        request: Request<'_>,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let response = self.open(request, "application/x-ndjson").await?;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            take(&chunk.map_err(|error| self.unreachable(&error))?)?;
        }
        Ok(())
    }

    async fn open(&self, request: Request<'_>, accept: &str) -> Result<Response, CliError> {
        let call = self.call(Method::GET, &request).header(ACCEPT, accept);
        let response = call
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// GET of the status alone, with the body where it is JSON: for health checks.
    ///
    /// # Errors
    /// [`CliError::Unreachable`].
    pub(crate) async fn probe(
        &self,
        path: &[&str],
        patience: Duration,
    ) -> Result<(u16, Value), CliError> {
        let call = self.call(Method::GET, &Request::at(path)).timeout(patience);
        let response = call
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let body = self.body(response).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        request: Request<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<T, CliError> {
        let mut call = self.call(method, &request).timeout(ANSWER_TIMEOUT);
        if let Some(body) = body {
            call = call.json(body);
        }
        let response = call
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let body = self.body(response).await?;
        // 204 has no body; whoever asks for one of those takes null.
        let body = if body.is_empty() {
            b"null".as_slice()
        } else {
            &body
        };
        serde_json::from_slice(body).map_err(|error| self.unreadable(&error.to_string()))
    }

    fn call(&self, method: Method, request: &Request<'_>) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(request.path);
        }
        let set = request
            .query
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_ref()?)));
        for (name, value) in set {
            url.query_pairs_mut().append_pair(name, value);
        }
        let call = self.client.request(method, url);
        request
            .headers
            .iter()
            .fold(call, |call, (name, value)| call.header(*name, value))
    }

    async fn refused(&self, response: Response) -> CliError {
        let status = response.status();
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CliError::Problem(Box::new(problem)),
            Err(_) => self.unreadable(&format!("status {status} without a problem document")),
        }
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, CliError> {
        let mut chunks = response.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&error))?;
            if body.len() + chunk.len() > ANSWER_LIMIT_BYTES {
                return Err(self.unreadable("it is longer than any answer of the platform"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The error of a call that got no answer.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let cause = std::error::Error::source(error);
        let reason = cause.map_or_else(|| error.to_string(), last_cause);
        CliError::Unreachable {
            url: self.url().to_owned(),
            reason,
            refused: error.is_connect(),
        }
    }

    /// The error of an answer that is none.
    pub(crate) fn unreadable(&self, reason: &str) -> CliError {
        CliError::Answer {
            url: self.url().to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// The layers of an HTTP client all say that something failed; the innermost says what.
fn last_cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use serde_json::json;

    use super::super::testing::{self, Scripted};
    use super::*;

    #[tokio::test]
    async fn paths_and_queries_are_escaped_and_empty_ones_left_out() {
        let scripted =
            Scripted::start(vec![testing::json("200 OK", &json!({ "items": [] }))]).await;
        let query = [("user", Some("a&b".to_owned())), ("agent", None)];
        let request = Request {
            path: &["v1", "a/b ?"],
            query: &query,
            ..Request::default()
        };
        let answer: Value = scripted.gateway.get(request).await.unwrap();
        assert_eq!(answer, json!({ "items": [] }));
        let asked = scripted.asked();
        assert!(
            asked[0].starts_with("GET /v1/a%2Fb%20%3F?user=a%26b HTTP/1.1"),
            "{}",
            asked[0]
        );
    }

    #[tokio::test]
    async fn what_is_no_problem_document_is_not_this_platform() {
        let page = "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let scripted = Scripted::start(vec![page.to_owned()]).await;
        let error = scripted
            .gateway
            .get::<Value>(Request::at(&["v1"]))
            .await
            .unwrap_err();
        assert!(matches!(error, CliError::Answer { .. }), "{error}");
        let error = scripted
            .gateway
            .get::<Value>(Request::at(&["v1"]))
            .await
            .unwrap_err();
        assert!(
            matches!(error, CliError::Unreachable { .. }),
            "nobody listens now: {error}"
        );
    }

    #[test]
    fn an_address_is_checked_before_it_is_called() {
        for bad in ["127.0.0.1:8080", "ftp://x", "", "http://"] {
            let connection = Connection {
                url: Some(bad.to_owned()),
                ..Connection::default()
            };
            assert!(
                matches!(Gateway::new(&connection), Err(CliError::Usage(_))),
                "{bad}"
            );
        }
    }
}
