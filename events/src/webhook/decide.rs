//! What becomes of webhooks.

use uuid::Uuid;

use super::{
    DeliveryGivenUp, DisabledBy, MOST_WEBHOOKS, Reach, Webhook, WebhookCreated, WebhookDeleted,
    WebhookDisabled, WebhookEnabled, WebhookEvent, WebhookRewound, WebhookRotated, WebhookSpec,
    WebhookUpdated, Webhooks,
};
use crate::error::DomainError;
use crate::ids::WebhookId;
use crate::time::Timestamp;

const MOST_TEXT: usize = 255;
const MOST_TYPES: usize = 64;
const MOST_TYPE: usize = 128;
/// The secret before a rotated one signs for a week at most.
const MOST_GRACE_MS: u64 = 7 * 24 * 3_600_000;

type Decided = Result<Vec<WebhookEvent>, DomainError>;

/// Delivers events from now on; the same webhook again is no event.
///
/// # Errors
/// A field is not valid, the id is another webhook's, or there are too many.
pub fn create(hooks: &Webhooks, new: &WebhookCreated, reach: &Reach) -> Decided {
    check(&new.spec, reach)?;
    match hooks.webhooks.get(&new.webhook_id) {
        Some(known) if known.spec == new.spec && known.secret_id == new.secret_id => Ok(vec![]),
        Some(_) => Err(DomainError::invalid(
            "webhook_id",
            "it is another webhook's",
        )),
        None if hooks.webhooks.len() >= MOST_WEBHOOKS => {
            let reason = format!("there are {MOST_WEBHOOKS} webhooks already; delete some first");
            Err(DomainError::invalid("webhook_id", reason))
        }
        None => Ok(vec![new.clone().into()]),
    }
}

/// Delivers somewhere else, or other events, from where it stands.
///
/// # Errors
/// There is no such webhook, or a field is not valid.
pub fn update(hooks: &Webhooks, id: WebhookId, spec: &WebhookSpec, reach: &Reach) -> Decided {
    check(spec, reach)?;
    if find(hooks, id)?.spec == *spec {
        return Ok(vec![]);
    }
    let spec = spec.clone();
    let updated = WebhookUpdated {
        webhook_id: id,
        spec,
    };
    Ok(vec![updated.into()])
}

/// Gives a webhook another secret; the one before signs too for `grace_ms` more.
///
/// # Errors
/// There is no such webhook, or the time is too long.
pub fn rotate(
    hooks: &Webhooks,
    id: WebhookId,
    secret_id: Uuid,
    grace_ms: u64,
    now: Timestamp,
) -> Decided {
    if grace_ms > MOST_GRACE_MS {
        let reason = format!("it is at most {MOST_GRACE_MS}");
        return Err(DomainError::invalid("grace_ms", reason));
    }
    if find(hooks, id)?.secret_id == secret_id {
        return Ok(vec![]);
    }
    let rotated = WebhookRotated {
        webhook_id: id,
        secret_id,
        previous_until: now.plus_millis(grace_ms),
    };
    Ok(vec![rotated.into()])
}

/// Goes on where it stopped.
///
/// # Errors
/// There is no such webhook.
pub fn enable(hooks: &Webhooks, id: WebhookId) -> Decided {
    Ok(match find(hooks, id)?.disabled {
        Some(_) => vec![WebhookEnabled { webhook_id: id }.into()],
        None => vec![],
    })
}

/// Delivers nothing until it is enabled.
///
/// # Errors
/// There is no such webhook, or the reason is not valid.
pub fn disable(hooks: &Webhooks, id: WebhookId, reason: Option<&str>) -> Decided {
    if let Some(reason) = reason {
        text("reason", reason)?;
    }
    Ok(stop(find(hooks, id)?, DisabledBy::Hand, reason))
}

/// The platform stops a webhook that cannot be served; one that was changed meanwhile is let be.
pub fn disable_by_itself(
    hooks: &Webhooks,
    id: WebhookId,
    changed_seq: u64,
    by: DisabledBy,
    reason: &str,
) -> Vec<WebhookEvent> {
    match hooks.webhooks.get(&id) {
        Some(hook) if hook.changed_seq == changed_seq => stop(hook, by, Some(reason)),
        _ => vec![],
    }
}

fn stop(hook: &Webhook, by: DisabledBy, reason: Option<&str>) -> Vec<WebhookEvent> {
    if hook.disabled.is_some() {
        return vec![];
    }
    let disabled = WebhookDisabled {
        webhook_id: hook.id,
        by,
        reason: reason.map(str::to_owned),
    };
    vec![disabled.into()]
}

/// Begins again at an earlier place, or tries at once what waits.
///
/// # Errors
/// There is no such webhook, or no such place.
pub fn rewind(hooks: &Webhooks, id: WebhookId, from_seq: Option<u64>) -> Decided {
    find(hooks, id)?;
    if from_seq == Some(0) {
        return Err(DomainError::invalid("from_seq", "it must be at least 1"));
    }
    let rewound = WebhookRewound {
        webhook_id: id,
        from_seq,
    };
    Ok(vec![rewound.into()])
}

/// Is done with a webhook.
///
/// # Errors
/// There is no such webhook (any more).
pub fn delete(hooks: &Webhooks, id: WebhookId) -> Decided {
    find(hooks, id)?;
    Ok(vec![WebhookDeleted { webhook_id: id }.into()])
}

/// One event was refused for good.
pub fn give_up(hooks: &Webhooks, given_up: &DeliveryGivenUp) -> Vec<WebhookEvent> {
    match hooks.webhooks.contains_key(&given_up.webhook_id) {
        true => vec![given_up.clone().into()],
        false => vec![],
    }
}

fn find(hooks: &Webhooks, id: WebhookId) -> Result<&Webhook, DomainError> {
    hooks
        .webhooks
        .get(&id)
        .ok_or_else(|| DomainError::NotFound {
            what: "webhook",
            id: id.to_string(),
        })
}

fn check(spec: &WebhookSpec, reach: &Reach) -> Result<(), DomainError> {
    reach.url(&spec.url)?;
    if let Some(description) = &spec.description {
        text("description", description)?;
    }
    if let Some(agent) = &spec.agent {
        text("agent", agent)?;
    }
    if spec.types.len() > MOST_TYPES || !spec.types.iter().all(|name| is_type(name)) {
        let reason = format!(
            "at most {MOST_TYPES} types such as nexus.run.completed.v1, or beginnings such as \
             nexus.run.*"
        );
        return Err(DomainError::invalid("types", reason));
    }
    Ok(())
}

/// A type, or the beginning of one.
fn is_type(name: &str) -> bool {
    let plain = name.strip_suffix('*').unwrap_or(name);
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.' || c == b'-';
    name.len() <= MOST_TYPE && plain.starts_with("nexus.") && plain.bytes().all(fits)
}

fn text(field: &'static str, text: &str) -> Result<(), DomainError> {
    match (1..=MOST_TEXT).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(DomainError::invalid(
            field,
            format!("it must have 1 to {MOST_TEXT} bytes and no control characters"),
        )),
    }
}
