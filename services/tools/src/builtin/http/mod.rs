//! `http_request`. Every hop is checked by itself: the URL's host, then each address that it
//! resolves to; the connection goes to those very addresses, so that a name which resolves
//! differently a moment later gains nothing. Redirects are followed here, not by the client, because
//! each is a request that has to be allowed.

mod answer;
mod connect;
mod request;

use nexus_events::tool::{Denied, Host, NetworkPermissions, NetworkRules};
use reqwest::Method;
use reqwest::header::LOCATION;
use serde_json::Value;
use url::Url;

use super::{CallContext, error};
use crate::ToolError;
use answer::Room;
pub use connect::{Http, Resolve, Resolving, System};
use request::Request;

const MAX_REDIRECTS: u32 = 5;

/// What may go along when a redirect leads to another origin: nothing that says who asks.
const HARMLESS: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "idempotency-key",
    "user-agent",
];

impl Http {
    /// Executes `http_request`.
    pub(crate) async fn call(
        &self,
        context: &CallContext,
        arguments: &Value,
    ) -> Result<Value, ToolError> {
        let none = NetworkPermissions::default();
        let network = context.permissions.network.as_ref().unwrap_or(&none);
        let rules = network.rules().map_err(Denied::from)?;
        let request = Request::read(arguments, &context.idempotency_key)?;
        let room = Room {
            body: network.response_size().get(),
            whole: context.limits.max_output_bytes,
        };
        let limit = network.time_limit().min(context.limits.timeout).duration();
        let sent = request.changes_something();
        match tokio::time::timeout(limit, self.follow(&rules, request, room)).await {
            Ok(result) => result,
            Err(_) if sent => Err(error(
                "timeout",
                "no answer in the time that this tool has; whether the request took effect is not known",
            )),
            Err(_) => Err(error("timeout", "no answer in the time that this tool has")),
        }
    }

    async fn follow(
        &self,
        rules: &NetworkRules,
        mut request: Request,
        room: Room,
    ) -> Result<Value, ToolError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(rules, &request).await?;
            let location = response.headers().get(LOCATION);
            let Some(location) = location.filter(|_| is_redirect(response.status().as_u16()))
            else {
                return answer::read(response, room).await;
            };
            let location = location.to_str().map_err(|_| {
                error(
                    "bad_redirect",
                    "the server redirects to something that is no URL",
                )
            })?;
            request = redirected(request, location, response.status().as_u16())?;
        }
        Err(error(
            "too_many_redirects",
            format!("more than {MAX_REDIRECTS} redirects"),
        ))
    }

    async fn send(
        &self,
        rules: &NetworkRules,
        request: &Request,
    ) -> Result<reqwest::Response, ToolError> {
        let (host, port) = target(&request.url)?;
        rules.host(&host, port)?;
        let addresses = self.addresses(&host).await?;
        for address in &addresses {
            rules.address(&host, port, *address)?;
        }
        let client = self.client(addresses)?;
        let mut builder = (client.request(request.method.clone(), request.url.clone()))
            .headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        builder
            .send()
            .await
            .map_err(|cause| connect::failed(&cause))
    }
}

/// Whom a URL's request goes to.
fn target(url: &Url) -> Result<(Host, u16), ToolError> {
    let bad = |what: &str| ToolError::arguments(format!("the URL {what}"));
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("is not http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("names a user; send an Authorization header instead"));
    }
    let host = url.host_str().ok_or_else(|| bad("names no host"))?;
    let host = Host::parse(host).map_err(|what| bad(&format!("has a host that {what}")))?;
    let port = url
        .port_or_known_default()
        .ok_or_else(|| bad("names no port"))?;
    Ok((host, port))
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The request that a redirect asks for. Whether it is allowed is asked when it is sent.
fn redirected(request: Request, location: &str, status: u16) -> Result<Request, ToolError> {
    let mut url = request.url.join(location).map_err(|_| {
        error(
            "bad_redirect",
            "the server redirects to something that is no URL",
        )
    })?;
    url.set_fragment(None);
    if request.url.scheme() == "https" && url.scheme() != "https" {
        return Err(error(
            "bad_redirect",
            "the server redirects from https to something open",
        ));
    }
    let elsewhere = request.url.origin() != url.origin();
    let mut next = Request { url, ..request };
    if elsewhere {
        next.keep_headers(HARMLESS);
    }
    let becomes_get = match status {
        303 => next.method != Method::HEAD,
        301 | 302 => next.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = None;
        next.headers.remove("content-type");
        next.headers.remove("idempotency-key");
    }
    Ok(next)
}
