//! Timers on the bus: a command published now and delivered later, about a quarter of a second
//! coarse. The message itself is the timer, so that none dies with a process. The server moves a
//! due message within one stream only; the relay takes it from there to the commands.

use async_nats::HeaderMap;
use futures_util::future::join_all;
use nexus_events::{Command, Tenant, Timestamp, subject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::connect::Bus;
use crate::consumer::ConsumerSpec;
use crate::js::{self, ApiError};
use crate::publish::{self, CommandMeta, PublishError, set_header};
use crate::pull::Puller;
use crate::settle::Taken;
use crate::topology::TIMERS;

const SCHEDULE: &str = "Nats-Schedule";
const TARGET: &str = "Nats-Schedule-Target";
const RELAYED_AT_ONCE: usize = 256;
const ACK_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A timer that was not set or not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    /// Its name is not one or more subject tokens.
    #[error("{0:?} is not a timer's name: letters, digits, '-', '_', '.'; at most 200")]
    Name(String),
    /// The bus did not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The server says no.
    #[error("timer {name} could not be cancelled")]
    Cancel {
        /// Which.
        name: String,
        /// What it says.
        #[source]
        source: ApiError,
    },
}

/// Publishes `command` at `at`; at once when that is past. A timer of the same tenant and name is
/// replaced. The command's id is `meta.id`, so that a timer which fires twice is one command.
///
/// # Errors
/// [`TimerError`].
pub async fn schedule(
    bus: &Bus,
    tenant: &Tenant,
    name: &str,
    at: Timestamp,
    command: &Command,
    meta: &CommandMeta,
) -> Result<(), TimerError> {
    check_name(name)?;
    let subject = subject::timer_schedule(tenant, name);
    let encode = |source| PublishError::Encode {
        command: command.type_name(),
        source,
    };
    let body = command.encode().map_err(encode)?;
    let bytes = body.len();
    let mut headers = publish::headers(bus, tenant, (command, &body), meta);
    // Setting a timer again with the same command is not a duplicate but a new time.
    set_header(
        &mut headers,
        "Nats-Msg-Id",
        format!("{tenant}/{name}/{}/{at}", meta.id),
    );
    set_header(&mut headers, SCHEDULE, format!("@at {at}"));
    let target = subject::timer_due(tenant, command.role(), command.verb());
    set_header(&mut headers, TARGET, target);
    let stored = js::publish(bus, &subject, headers, body.into()).await;
    stored
        .map(drop)
        .map_err(|given_up| PublishError::from_api(&subject, bytes, given_up).into())
}

/// Cancels a timer; says whether there was one. One that has fired is not called back.
///
/// # Errors
/// [`TimerError`].
pub async fn cancel(bus: &Bus, tenant: &Tenant, name: &str) -> Result<bool, TimerError> {
    check_name(name)?;
    let filter = subject::timer_schedule(tenant, name);
    let verb = format!("STREAM.PURGE.{TIMERS}");
    let purged: Value = js::api(bus, &verb, &json!({ "filter": filter }))
        .await
        .map_err(|source| TimerError::Cancel {
            name: name.to_owned(),
            source,
        })?;
    Ok(purged.get("purged").and_then(Value::as_u64).unwrap_or(0) > 0)
}

fn check_name(name: &str) -> Result<(), TimerError> {
    let token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
    };
    let fits = name.len() <= 200 && name.split('.').all(token);
    fits.then_some(())
        .ok_or_else(|| TimerError::Name(name.chars().take(64).collect()))
}

/// Moves due timers to the commands until `shutdown` is cancelled. Several processes may run it;
/// what is moved twice collapses by its id, or is found to be done by whoever handles it.
pub async fn run_relay(bus: Bus, shutdown: CancellationToken) {
    let consumer = ConsumerSpec {
        stream: TIMERS,
        name: "timer-relay".to_owned(),
        filter_subjects: vec![subject::ALL_TIMERS_DUE.to_owned()],
        ack_wait: ACK_WAIT,
        single_active: false,
    };
    let mut puller = Puller::new(bus.clone(), consumer, RELAYED_AT_ONCE);
    info!("timer relay started");
    loop {
        let mut due = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            message = puller.next(RELAYED_AT_ONCE) => vec![Taken::new(message)],
        };
        while due.len() < RELAYED_AT_ONCE {
            let Some(message) = puller.ready() else { break };
            due.push(Taken::new(message));
        }
        join_all(due.iter().map(|taken| relay(&bus, taken))).await;
    }
    drop(puller.stop().await);
    info!("timer relay stopped");
}

async fn relay(bus: &Bus, taken: &Taken) {
    let from = taken.message.subject.as_str();
    let answer = match subject::parse_timer_due(from) {
        Some(to) => {
            let target = subject::command(&to.tenant, &to.role, &to.verb);
            let headers = relayed_headers(bus, taken, to.tenant.as_str());
            let body = taken.message.payload.clone();
            match js::publish(bus, &target, headers, body).await {
                Ok(_) => "+ACK",
                Err((error, _)) => {
                    error!(%error, subject = target, "a due timer could not be relayed, it stays");
                    "-NAK {\"delay\":30000000000}"
                }
            }
        }
        None => {
            error!(
                subject = from,
                "a due timer names no command and is dropped"
            );
            "+TERM"
        }
    };
    if let Some(reply) = taken.message.reply.clone() {
        // A lost answer means that it is relayed again, which collapses.
        let _ = bus.client().publish(reply, answer.into()).await;
    }
}

/// The command's own headers, and a message id: its own, or one that this due message always has.
fn relayed_headers(bus: &Bus, taken: &Taken, tenant: &str) -> HeaderMap {
    let own = |name: &str| {
        !name
            .get(..5)
            .is_some_and(|p| p.eq_ignore_ascii_case("nats-"))
    };
    let mut headers: HeaderMap = (taken.headers().iter())
        .filter(|(name, _)| own(name.as_ref()))
        .filter_map(|(name, values)| Some((name.clone(), values.first()?.clone())))
        .collect();
    let (seq, stamp) = (taken.stream_seq, taken.published_at.as_millis());
    let id = headers
        .get(nexus_events::envelope::CE_ID)
        .map(|id| bus.seals().message_id(tenant, id.as_str()));
    set_header(
        &mut headers,
        "Nats-Msg-Id",
        id.unwrap_or_else(|| format!("timer/{seq}/{stamp}")),
    );
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_subject_tokens() {
        for good in ["approval-1", "run.0193e8a0.turn_2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a..b", "a b", "*", "a.>", &"x".repeat(201)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
