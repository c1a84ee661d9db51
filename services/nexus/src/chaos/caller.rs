//! Requests to the gateways, asked again for as long as nobody answers: what any client with an
//! idempotency key does.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::platform::Platform;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(250);
const OPERATOR: (&str, &str) = ("ops", "admin");

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    /// The tenant.
    pub(crate) tenant: &'a str,
    /// The user.
    pub(crate) user: &'a str,
    /// Roles, separated by commas.
    pub(crate) roles: &'a str,
}

impl<'a> Who<'a> {
    /// A user without roles.
    pub(crate) fn user(tenant: &'a str, user: &'a str) -> Self {
        let roles = "user";
        Self {
            tenant,
            user,
            roles,
        }
    }

    /// Whoever operates the platform.
    pub(crate) fn operator(tenant: &'a str) -> Self {
        let (user, roles) = OPERATOR;
        Self {
            tenant,
            user,
            roles,
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    /// Who calls.
    pub(crate) who: Who<'a>,
    /// How.
    pub(crate) method: Method,
    /// What.
    pub(crate) path: String,
    /// With what.
    pub(crate) body: Option<Value>,
    /// What makes two of them one.
    pub(crate) key: Option<&'a str>,
}

impl<'a> Ask<'a> {
    /// Reads.
    pub(crate) fn get(who: Who<'a>, path: impl Into<String>) -> Self {
        Self {
            who,
            method: Method::GET,
            path: path.into(),
            body: None,
            key: None,
        }
    }

    /// Changes something.
    pub(crate) fn post(who: Who<'a>, path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(who, path)
        }
    }

    /// Once: the status and the answer, or nothing where nobody answered.
    pub(crate) async fn once(
        &self,
        platform: &Platform,
        attempt: usize,
        patience: Option<Duration>,
    ) -> Option<(u16, Value)> {
        let url = platform.url(attempt, &self.path);
        let mut request = platform
            .http
            .request(self.method.clone(), url)
            .header("Nexus-Tenant", self.who.tenant)
            .header("Nexus-User", self.who.user)
            .header("Nexus-Roles", self.who.roles);
        if let Some(patience) = patience {
            request = request.timeout(patience);
        }
        if let Some(key) = self.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }

    /// Until somebody answers for good: neither that it is not possible now, nor that it was too much.
    pub(crate) async fn insist(&self, platform: &Platform) -> (u16, Value) {
        let mut attempt = 0;
        loop {
            match self.once(platform, attempt, None).await {
                Some((status, body)) if status < 500 && status != 429 && status != 408 => {
                    return (status, body);
                }
                _ => tokio::time::sleep(AGAIN).await,
            }
            attempt += 1;
        }
    }
}
