//! Tokens of OpenID providers (JWT, RFC 7519). The configuration says which issuers are believed,
//! for whom their tokens must be, and where in a token tenant, user, roles and groups are. An
//! issuer's keys are fetched when they are first needed, and again when a token names one that is
//! not among them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use nexus_events::{Actor, Tenant};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;

use super::Caller;
use super::authenticate::invalid;
use crate::http::ApiError;

/// Clocks may differ by this much.
const LEEWAY_S: u64 = 60;
/// A provider's keys are fetched again after this at the latest.
const KEYS_AT_MOST_OLD: Duration = Duration::from_secs(3_600);
/// And not more often than this, whatever keys tokens name.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
const FETCH_LIMIT: Duration = Duration::from_secs(5);
const MOST_KEY_SET_BYTES: usize = 1024 * 1024;
const MOST_TOKEN_BYTES: usize = 16 * 1024;
const MOST_NAMES: usize = 64;
const MOST_NAME_BYTES: usize = 128;
/// Never a symmetric one: its key would be the public one.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// An OpenID provider whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// As it stands in `iss`.
    pub issuer: String,
    /// Whom tokens must be for (`aud`).
    pub audience: String,
    /// Where its keys are (JWKS); found through its discovery document where absent.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The tenant of all of its users.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The claim that names the tenant, where `tenant` is absent.
    #[serde(default = "tenant_claim")]
    pub tenant_claim: String,
    /// The claim that names the user.
    #[serde(default = "user_claim")]
    pub user_claim: String,
    /// The claim that names the roles; dots lead into objects (`realm_access.roles`).
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    /// The claim that names the groups.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
}

fn tenant_claim() -> String {
    "tenant".to_owned()
}

fn user_claim() -> String {
    "sub".to_owned()
}

fn roles_claim() -> String {
    "roles".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

/// The issuers that are believed.
#[derive(Debug)]
pub(super) struct Tokens(BTreeMap<String, Issuer>);

#[derive(Debug)]
struct Issuer {
    config: IssuerConfig,
    tenant: Option<Tenant>,
    client: Client,
    keys: Mutex<Fetched>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Fetched {
    keys: Arc<Vec<(Option<String>, DecodingKey)>>,
    /// When they were fetched, and when it was tried last.
    at: Option<Instant>,
    tried: Option<Instant>,
}

/// A token of an issuer that is believed; nothing in it is, yet.
pub(super) struct Shown<'a> {
    issuer: &'a Issuer,
    header: Header,
    text: &'a str,
}

impl Tokens {
    /// # Errors
    /// What cannot work, in words.
    pub(super) fn new(configs: &[IssuerConfig]) -> Result<Self, String> {
        let mut issuers = BTreeMap::new();
        for config in configs {
            let parsed = config.tenant.as_deref().map(str::parse::<Tenant>);
            let issuer = Issuer {
                tenant: parsed.transpose().map_err(|error| error.to_string())?,
                client: Client::builder()
                    .timeout(FETCH_LIMIT)
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(|error| error.to_string())?,
                config: config.clone(),
                keys: Mutex::default(),
                fetching: tokio::sync::Mutex::default(),
            };
            issuers.insert(config.issuer.clone(), issuer);
        }
        Ok(Self(issuers))
    }

    /// What is shown as a token of one of the issuers; none for anything else.
    pub(super) fn read<'a>(&'a self, text: &'a str) -> Option<Shown<'a>> {
        if self.0.is_empty() || text.len() > MOST_TOKEN_BYTES {
            return None;
        }
        let header = jsonwebtoken::decode_header(text).ok()?;
        let claims = jsonwebtoken::dangerous::insecure_decode::<Map<String, Value>>(text).ok()?;
        let issuer = self.0.get(claims.claims.get("iss")?.as_str()?)?;
        Some(Shown {
            issuer,
            header,
            text,
        })
    }

    /// Whoever a token was given to.
    pub(super) async fn caller(&self, shown: Shown<'_>) -> Result<Caller, ApiError> {
        let Shown {
            issuer,
            header,
            text,
        } = shown;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid());
        }
        let config = &issuer.config;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        for key in issuer.keys_for(header.kid.as_deref()).await? {
            if let Ok(token) = jsonwebtoken::decode::<Map<String, Value>>(text, &key, &validation) {
                return issuer.caller(&token.claims);
            }
        }
        Err(invalid())
    }
}

impl Issuer {
    fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, ApiError> {
        let config = &self.config;
        let tenant = match &self.tenant {
            Some(tenant) => tenant.clone(),
            None => (find(claims, &config.tenant_claim).and_then(Value::as_str))
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| unusable(&config.tenant_claim))?,
        };
        if tenant == Tenant::installation() {
            return Err(unusable(&config.tenant_claim));
        }
        let user = find(claims, &config.user_claim).and_then(Value::as_str);
        let user = user.filter(|user| (1..=255).contains(&user.len()));
        Ok(Caller {
            key: None,
            tenant,
            actor: Actor {
                user: user.ok_or_else(|| unusable(&config.user_claim))?.to_owned(),
                roles: names(claims, &config.roles_claim),
                groups: names(claims, &config.groups_claim),
                key: None,
                source: None,
            },
            is_local: false,
        })
    }

    /// The keys that may have signed a token that names this one. Nobody whose key is there waits for
    /// a fetch that somebody else's token asked for.
    async fn keys_for(&self, kid: Option<&str>) -> Result<Vec<DecodingKey>, ApiError> {
        let (found, wanted) = self.look(kid);
        if !wanted {
            return Ok(found);
        }
        let _fetching = match found.is_empty() {
            true => self.fetching.lock().await,
            false => match self.fetching.try_lock() {
                Ok(fetching) => fetching,
                Err(_) => return Ok(found),
            },
        };
        // Somebody may have fetched them meanwhile.
        let (found, wanted) = self.look(kid);
        if !wanted {
            return Ok(found);
        }
        self.fetched().tried = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                let mut fetched = self.fetched();
                fetched.keys = Arc::new(keys);
                fetched.at = Some(Instant::now());
                drop(fetched);
                Ok(self.look(kid).0)
            }
            Err(error) => {
                let issuer = &self.config.issuer;
                warn!(issuer, error, "the keys of an issuer cannot be had");
                match found.is_empty() {
                    // The ones that were good until now are better than none.
                    false => Ok(found),
                    true => Err(ApiError::unavailable(
                        "issuer_unavailable",
                        "the keys of the issuer of this token cannot be had now; ask again",
                    )),
                }
            }
        }
    }

    /// The keys that are there, and whether they are to be fetched.
    fn look(&self, kid: Option<&str>) -> (Vec<DecodingKey>, bool) {
        let fetched = self.fetched();
        let fits = |id: &Option<String>| kid.is_none() || id.as_deref() == kid;
        let keys = fetched.keys.iter().filter(|(id, _)| fits(id));
        let found: Vec<_> = keys.map(|(_, key)| key.clone()).collect();
        let is_old = (fetched.at).is_none_or(|at| at.elapsed() > KEYS_AT_MOST_OLD);
        let may_try = (fetched.tried).is_none_or(|at| at.elapsed() > FETCH_AT_MOST_EVERY);
        let wanted = (found.is_empty() || is_old) && may_try;
        (found, wanted)
    }

    fn fetched(&self) -> MutexGuard<'_, Fetched> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => {
                let issuer = self.config.issuer.trim_end_matches('/');
                let document = format!("{issuer}/.well-known/openid-configuration");
                let document: Value = self.get(&document).await?;
                let url = document.get("jwks_uri").and_then(Value::as_str);
                url.ok_or("the discovery document names no jwks_uri")?
                    .to_owned()
            }
        };
        let set: JwkSet = self.get(&url).await?;
        let mut keys = vec![];
        for jwk in set.keys {
            if let Ok(key) = DecodingKey::from_jwk(&jwk) {
                keys.push((jwk.common.key_id, key));
            }
        }
        Ok(keys)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = (self.client.get(url).send().await)
            .and_then(reqwest::Response::error_for_status)
            .map_err(failed)?;
        let mut body = vec![];
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_KEY_SET_BYTES {
                return Err(format!("more than {MOST_KEY_SET_BYTES} bytes"));
            }
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

/// A claim; dots lead into objects.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// Names in a claim: an array of texts, or a text of names with blanks between them.
fn names(claims: &Map<String, Value>, path: &str) -> Vec<String> {
    let names: Vec<&str> = match find(claims, path) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.split_whitespace().collect(),
        _ => vec![],
    };
    let good = |name: &&str| (1..=MOST_NAME_BYTES).contains(&name.len());
    let names = names.into_iter().filter(good).take(MOST_NAMES);
    names.map(str::to_owned).collect()
}

fn unusable(claim: &str) -> ApiError {
    let detail = format!("the token has no usable claim {claim:?}");
    ApiError::new(403, "claim_missing", detail)
}
