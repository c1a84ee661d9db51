//! API keys. A key is made here and shown once: what goes to the bus is its hash.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nexus_events::command::SetLimits;
use nexus_events::keys::{ApiKey, CreateKey, KeyCreated, Keys, Minted, RevokeKey, RotateKey};
use nexus_events::ledger::{Limits, Scope, Window};
use nexus_events::{AggregateId, Command, KeyId, Timestamp};
use nexus_projections::query::KeyRow;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::budgets;
use super::lists::{self, At};
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, MaybeJson, Params};
use crate::identity::Caller;

/// A key to make.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people call it.
    name: String,
    /// Whoever has it acts as this user; the caller where absent.
    #[serde(default)]
    user: Option<String>,
    /// In these roles. `admin` manages, `viewer` and `auditor` read; any other, or none, is a user's.
    #[serde(default)]
    roles: Vec<String>,
    /// In these groups.
    #[serde(default)]
    groups: Vec<String>,
    /// It may not be used after that; for ever where absent.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Requests that may be made with it in a minute, instead of what the configuration allows every
    /// key.
    #[serde(default)]
    requests_per_minute: Option<u32>,
    /// Tokens that may be spent with it in a minute, input and output together: the budget `key` of its
    /// id, which can be set to another later.
    #[serde(default)]
    tokens_per_minute: Option<u64>,
    /// Runs that may be in flight with it at a time: the same.
    #[serde(default)]
    runs: Option<u64>,
}

/// How a key gets another secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rotation {
    /// For how long the one before may be used too, in milliseconds; at most a week.
    grace_ms: u64,
}

/// Why a key is revoked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Revocation {
    /// Why.
    reason: Option<String>,
}

/// A key that was made. It is shown here and never again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeyMade {
    /// Its id, which is a part of it.
    key_id: KeyId,
    /// The key.
    key: String,
    /// Sequence of the commit: give it as `min_seq`. Null while no role has answered; the command is
    /// accepted, and the key works in a moment.
    seq: Option<u64>,
}

/// A key that may not be used any more.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeyDone {
    /// Its id.
    key_id: KeyId,
    /// Sequence of the commit; null while no role has answered.
    #[serde(default)]
    seq: Option<u64>,
}

/// Keys of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyList {
    /// The newest first, the first 1,000. Revoked ones stay in the list.
    items: Vec<KeyRow>,
}

/// Makes a key.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(new): JsonBody<NewKey>,
) -> Result<(StatusCode, Json<KeyMade>), ApiError> {
    let key_id = KeyId::new(Uuid::now_v7());
    let Minted { key, hash } = mint(&caller, key_id);
    // Before it can be used, so that nothing is spent with it that its limits would not allow.
    limit(&app, &caller, trace, key_id, &new).await?;
    let command = CreateKey(KeyCreated {
        key_id,
        name: new.name,
        user: new.user.unwrap_or_else(|| caller.actor.user.clone()),
        roles: new.roles,
        groups: new.groups,
        hash,
        expires_at: new.expires_at,
        requests_per_minute: new.requests_per_minute,
    });
    let seq = order(&app, &caller, trace, command.into()).await?;
    let made = KeyMade { key_id, key, seq };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Gives a key another secret.
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(key_id): Path<String>,
    MaybeJson(rotation): MaybeJson<Rotation>,
) -> Result<Json<KeyMade>, ApiError> {
    let key_id = parse(&key_id)?;
    let Minted { key, hash } = mint(&caller, key_id);
    let command = RotateKey {
        key_id,
        hash,
        grace_ms: rotation.grace_ms,
    };
    let seq = order(&app, &caller, trace, command.into()).await?;
    Ok(Json(KeyMade { key_id, key, seq }))
}

/// Lets a key be used no more.
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(key_id): Path<String>,
    MaybeJson(revocation): MaybeJson<Revocation>,
) -> Result<Json<KeyDone>, ApiError> {
    let key_id = parse(&key_id)?;
    let reason = revocation.reason;
    let command = RevokeKey { key_id, reason };
    let seq = order(&app, &caller, trace, command.into()).await?;
    Ok(Json(KeyDone { key_id, seq }))
}

/// A tenant's keys.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(at): Params<At>,
) -> Result<Json<KeyList>, ApiError> {
    lists::caught_up(&app, at.min_seq).await?;
    let now = app.bus().now();
    let items = app.projections().api_keys(&caller.tenant, now).await?;
    Ok(Json(KeyList { items }))
}

/// Sets the budgets that a new key has.
async fn limit(
    app: &App,
    caller: &Caller,
    trace: Trace,
    key_id: KeyId,
    new: &NewKey,
) -> Result<(), ApiError> {
    let (tokens, runs) = (new.tokens_per_minute, new.runs);
    budgets::check_amount("tokens_per_minute", tokens)?;
    budgets::check_amount("runs", runs)?;
    let wanted = [
        (
            Window::Minute,
            tokens.is_some(),
            Limits {
                tokens,
                ..Limits::default()
            },
        ),
        (
            Window::Lifetime,
            runs.is_some(),
            Limits {
                runs,
                ..Limits::default()
            },
        ),
    ];
    for (window, _, limits) in wanted.into_iter().filter(|(_, given, _)| *given) {
        let set = SetLimits {
            scope: Scope::Key(key_id),
            window,
            limits,
            on_exhausted: None,
            thresholds: None,
        };
        let order = Order {
            caller,
            trace,
            command: set.into(),
            run: None,
            key: None,
        };
        if let Outcome::Accepted = send::<budgets::BudgetSet>(app, order).await? {
            let detail =
                "the limits of the key are not in force yet, and it was not made; ask again";
            return Err(ApiError::unavailable("limits_pending", detail));
        }
    }
    Ok(())
}

fn mint(caller: &Caller, key_id: KeyId) -> Minted {
    ApiKey::mint(&caller.tenant, key_id, rand::rng().random())
}

fn parse(text: &str) -> Result<KeyId, ApiError> {
    (text.parse()).map_err(|_| ApiError::invalid("key_id", "it must be a UUID"))
}

async fn order(
    app: &App,
    caller: &Caller,
    trace: Trace,
    command: Command,
) -> Result<Option<u64>, ApiError> {
    let order = Order {
        caller,
        trace,
        command,
        run: None,
        key: None,
    };
    let seq = match send::<KeyDone>(app, order).await? {
        Outcome::Done(done) => done.seq,
        Outcome::Accepted => return Ok(None),
    };
    // Whoever gets the answer may show the key here at once.
    let keys = (app.store()).peek::<Keys>(&caller.tenant, &AggregateId::ONLY, Duration::ZERO);
    app.in_time(keys).await?;
    Ok(seq)
}
