//! Webhooks. What a webhook is comes from its log and how far it has come from the document of
//! whoever delivers, so that both are as they are now, with the database or without it. A secret
//! derives from a key, and is shown by whoever made it; the bus never has it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nexus_bus::process::load_latest;
use nexus_bus::webhooks::{self, ProgressError};
use nexus_events::webhook::progress::{Attempt, Progress};
use nexus_events::webhook::{
    CreateWebhook, DeleteWebhook, DisableWebhook, DisabledBy, EnableWebhook, RewindWebhook,
    RotateWebhook, SigningKey, TestWebhook, UpdateWebhook, Webhook, WebhookCreated, WebhookSpec,
    Webhooks,
};
use nexus_events::{AggregateId, Command, SessionId, Tenant, Timestamp, WebhookId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::control::Reason;
use crate::app::App;
use crate::commands::{Order, Outcome, send};
use crate::http::problem::internal;
use crate::http::trace::Trace;
use crate::http::{ApiError, JsonBody, MaybeJson, path_id};
use crate::identity::Caller;

/// A webhook to create.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = example())]
pub(crate) struct NewWebhook {
    /// The receiver: an `https` address without a name or password in it.
    url: String,
    /// What people call it.
    #[serde(default)]
    description: Option<String>,
    /// Only events of these types, such as `nexus.run.completed.v1`, or `nexus.run.*` for all that
    /// begin so; every event where empty.
    #[serde(default)]
    types: Vec<String>,
    /// Only events of runs of this agent.
    #[serde(default)]
    agent: Option<String>,
    /// Only events of this session and its runs.
    #[serde(default)]
    session_id: Option<SessionId>,
    /// The first sequence that is delivered; what is recorded from now on where absent.
    #[serde(default)]
    from_seq: Option<u64>,
}

fn example() -> serde_json::Value {
    serde_json::json!({
        "url": "https://example.com/hooks/nexus",
        "types": ["nexus.run.completed.v1", "nexus.run.failed.v1"],
    })
}

/// How a webhook gets another secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewSecret {
    /// For how long messages are signed with the one before too, in milliseconds; at most a week.
    grace_ms: u64,
}

/// From where a webhook delivers again.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redelivery {
    /// The first sequence that is delivered again; where it stands if absent, without waiting.
    from_seq: Option<u64>,
}

/// A secret that was made. It is shown here and never again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WebhookMade {
    /// The webhook.
    webhook_id: WebhookId,
    /// What its messages are signed with: `whsec_…`.
    secret: String,
    /// Sequence of the commit. Null while no role has answered; the command is accepted.
    seq: Option<u64>,
}

/// The outcome of a command on a webhook.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WebhookDone {
    /// The webhook.
    webhook_id: WebhookId,
    /// Sequence of the commit; null while no role has answered.
    #[serde(default)]
    seq: Option<u64>,
}

/// What came of a test.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TestDone {
    /// The webhook.
    webhook_id: WebhookId,
    /// The message's id, as the receiver got it; null while no role has answered.
    #[serde(default)]
    message_id: Option<String>,
    /// Whether the receiver took it.
    #[serde(default)]
    delivered: bool,
    /// Its answer, where there was one.
    #[serde(default)]
    status: Option<u16>,
    /// What was wrong.
    #[serde(default)]
    error: Option<String>,
    /// How long it took.
    #[serde(default)]
    took_ms: Option<u64>,
}

/// A webhook.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookView {
    /// Its id.
    id: WebhookId,
    /// Where to, and what.
    #[serde(flatten)]
    spec: WebhookSpec,
    /// `enabled`, `failing` (the receiver takes nothing for now) or `disabled`.
    status: &'static str,
    /// Who or what disabled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_by: Option<DisabledBy>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
    /// When it was created.
    created_at: Timestamp,
    /// Until then messages are signed with the secret before too.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<Timestamp>,
    /// Everything up to this sequence was delivered, was not wanted, or was given up.
    cursor: u64,
    /// Every commit up to this sequence was looked at.
    read_to: u64,
    /// Runs and other aggregates with something that waits.
    waiting: usize,
    /// Messages that were taken.
    delivered: u64,
    /// Events that were given up.
    given_up: u64,
    /// When something was last taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered_at: Option<Timestamp>,
    /// Since when nothing was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    /// Nothing is tried before.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
}

/// Webhooks of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookList {
    /// The oldest first; there are 50 at most.
    items: Vec<WebhookView>,
}

/// Tries of a webhook.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeliveryList {
    /// The newest first, the last 50.
    items: Vec<Attempt>,
}

/// Creates a webhook.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    JsonBody(new): JsonBody<NewWebhook>,
) -> Result<(StatusCode, Json<WebhookMade>), ApiError> {
    let (webhook_id, secret_id) = (WebhookId::new(Uuid::now_v7()), Uuid::new_v4());
    let secret = key(&app)?
        .secret(&caller.tenant, webhook_id, secret_id)
        .text();
    let command = CreateWebhook(WebhookCreated {
        webhook_id,
        spec: WebhookSpec {
            url: new.url,
            description: new.description,
            types: new.types,
            agent: new.agent,
            session_id: new.session_id,
        },
        secret_id,
        from_seq: new.from_seq,
    });
    let seq = order(&app, &caller, trace, webhook_id, command.into())
        .await?
        .seq;
    let made = WebhookMade {
        webhook_id,
        secret,
        seq,
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes where a webhook delivers, or what.
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    JsonBody(spec): JsonBody<WebhookSpec>,
) -> Result<Json<WebhookDone>, ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let command = UpdateWebhook { webhook_id, spec };
    let done = order(&app, &caller, trace, webhook_id, command.into()).await?;
    Ok(Json(done))
}

/// Gives a webhook another secret.
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    MaybeJson(new): MaybeJson<NewSecret>,
) -> Result<Json<WebhookMade>, ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let secret_id = Uuid::new_v4();
    let secret = key(&app)?
        .secret(&caller.tenant, webhook_id, secret_id)
        .text();
    let command = RotateWebhook {
        webhook_id,
        secret_id,
        grace_ms: new.grace_ms,
    };
    let seq = order(&app, &caller, trace, webhook_id, command.into())
        .await?
        .seq;
    Ok(Json(WebhookMade {
        webhook_id,
        secret,
        seq,
    }))
}

/// Goes on delivering.
pub(crate) async fn enable(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
) -> Result<Json<WebhookDone>, ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let command = EnableWebhook { webhook_id };
    let done = order(&app, &caller, trace, webhook_id, command.into()).await?;
    Ok(Json(done))
}

/// Delivers nothing for now.
pub(crate) async fn disable(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    MaybeJson(why): MaybeJson<Reason>,
) -> Result<Json<WebhookDone>, ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let reason = why.checked()?;
    let command = DisableWebhook { webhook_id, reason };
    let done = order(&app, &caller, trace, webhook_id, command.into()).await?;
    Ok(Json(done))
}

/// Delivers again from an earlier place, or tries at once what waits.
pub(crate) async fn redeliver(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
    MaybeJson(from): MaybeJson<Redelivery>,
) -> Result<Json<WebhookDone>, ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let from_seq = from.from_seq;
    let command = RewindWebhook {
        webhook_id,
        from_seq,
    };
    let done = order(&app, &caller, trace, webhook_id, command.into()).await?;
    Ok(Json(done))
}

/// Is done with a webhook.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
) -> Result<Json<WebhookDone>, ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let command = DeleteWebhook { webhook_id };
    let done = order(&app, &caller, trace, webhook_id, command.into()).await?;
    Ok(Json(done))
}

/// Delivers a message of no meaning, once.
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    trace: Trace,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<TestDone>), ApiError> {
    let webhook_id = path_id(&id, "webhook_id")?;
    let command = TestWebhook { webhook_id };
    Ok(match ask(&app, &caller, trace, command.into()).await? {
        Outcome::Done(done) => (StatusCode::OK, Json(done)),
        Outcome::Accepted => {
            let sent = TestDone {
                webhook_id,
                message_id: None,
                delivered: false,
                status: None,
                error: None,
                took_ms: None,
            };
            (StatusCode::ACCEPTED, Json(sent))
        }
    })
}

/// A tenant's webhooks.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<WebhookList>, ApiError> {
    let hooks = all(&app, &caller.tenant).await?;
    let mut items = Vec::with_capacity(hooks.webhooks.len());
    for hook in hooks.webhooks.into_values() {
        items.push(view(&app, &caller.tenant, hook).await?);
    }
    items.sort_by_key(|item| item.created_at);
    Ok(Json(WebhookList { items }))
}

/// One webhook.
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<WebhookView>, ApiError> {
    let hook = find(&app, &caller.tenant, &id).await?;
    Ok(Json(view(&app, &caller.tenant, hook).await?))
}

/// The last tries of a webhook.
pub(crate) async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<DeliveryList>, ApiError> {
    let hook = find(&app, &caller.tenant, &id).await?;
    let progress = progress(&app, &caller.tenant, &hook).await?;
    let items = progress.recent.into_iter().rev().collect();
    Ok(Json(DeliveryList { items }))
}

fn key(app: &App) -> Result<&SigningKey, ApiError> {
    app.config().webhook_key.as_ref().ok_or_else(|| {
        let detail = "there is no key that secrets of webhooks derive from: set \
                      webhooks.secret_file for the gateway and the role webhooks";
        ApiError::new(503, "webhooks_not_configured", detail)
    })
}

async fn all(app: &App, tenant: &Tenant) -> Result<Webhooks, ApiError> {
    let latest = load_latest::<Webhooks>(app.store(), tenant, &AggregateId::ONLY, 0);
    Ok(app.in_time(latest).await?.state.clone())
}

async fn find(app: &App, tenant: &Tenant, id: &str) -> Result<Webhook, ApiError> {
    let id: WebhookId = path_id(id, "webhook_id")?;
    let found = all(app, tenant).await?.webhooks.remove(&id);
    found.ok_or_else(|| ApiError::not_found("webhook", id))
}

async fn progress(app: &App, tenant: &Tenant, hook: &Webhook) -> Result<Progress, ApiError> {
    let found = app
        .in_time(webhooks::load(app.bus(), tenant, hook.id))
        .await?;
    let mut progress = found.map_or_else(|| Progress::begin(hook), |(progress, _)| progress);
    // What was changed a moment ago counts already.
    progress.follow(hook);
    Ok(progress)
}

async fn view(app: &App, tenant: &Tenant, hook: Webhook) -> Result<WebhookView, ApiError> {
    let progress = progress(app, tenant, &hook).await?;
    let (disabled_by, disabled_reason) = match hook.disabled {
        Some(disabled) => (Some(disabled.by), disabled.reason),
        None => (None, None),
    };
    let now = app.bus().now();
    let previous = hook.previous.map(|(_, until)| until);
    Ok(WebhookView {
        id: hook.id,
        spec: hook.spec,
        status: match disabled_by {
            Some(_) => "disabled",
            None if progress.is_failing() => "failing",
            None => "enabled",
        },
        disabled_by,
        disabled_reason,
        created_at: hook.created_at,
        previous_until: previous.filter(|until| *until > now),
        cursor: progress.cursor(),
        read_to: progress.read_to,
        waiting: progress.lanes.len(),
        delivered: progress.delivered,
        given_up: hook.given_up,
        last_delivered_at: progress.last_taken_at,
        failing_since: progress.failing_since,
        retry_at: progress.retry_at,
    })
}

impl From<ProgressError> for ApiError {
    fn from(error: ProgressError) -> Self {
        match error {
            ProgressError::Read(error) => error.into(),
            other => internal(&other),
        }
    }
}

async fn ask<T: DeserializeOwned>(
    app: &App,
    caller: &Caller,
    trace: Trace,
    command: Command,
) -> Result<Outcome<T>, ApiError> {
    let order = Order {
        caller,
        trace,
        command,
        run: None,
        key: None,
    };
    send::<T>(app, order).await
}

async fn order(
    app: &App,
    caller: &Caller,
    trace: Trace,
    webhook_id: WebhookId,
    command: Command,
) -> Result<WebhookDone, ApiError> {
    Ok(match ask(app, caller, trace, command).await? {
        Outcome::Done(done) => done,
        Outcome::Accepted => WebhookDone {
            webhook_id,
            seq: None,
        },
    })
}
