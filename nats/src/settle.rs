//! What becomes of a delivered command: acknowledged, delayed, laid aside. One place knows the
//! acknowledgement protocol, and a command is never acknowledged before its outcome is safe.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use nexus_events::envelope::ACTOR;
use nexus_events::{CommandEnvelope, Problem, Timestamp, subject};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::connect::Bus;
use crate::inbound::{self, Delivery, Origin, Undecodable};
use crate::seal::{SEAL, Unsealed};
use crate::worker::{Failure, RoleSpec};
use crate::{dlq, metrics, publish};

/// Deliveries without any outcome (crashes, silent processes) before a command is laid aside:
/// enough for many restarts, few enough for a command that takes the process down each time.
const MOST_DELIVERIES: u64 = 64;

/// A message and what its acknowledgement subject tells.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) message: Message,
    pub(crate) delivered: u64,
    pub(crate) stream_seq: u64,
    pub(crate) published_at: Timestamp,
}

impl Taken {
    pub(crate) fn new(message: Message) -> Self {
        let reply = message.reply.as_ref().map_or("", |reply| reply.as_str());
        // $JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<nanoseconds>.<pending>,
        // in its longer form with domain and account before the stream.
        let tokens: Vec<&str> = reply.split('.').collect();
        let skip = if tokens.len() >= 11 { 6 } else { 4 };
        let number = |at: usize| tokens.get(skip + at).and_then(|n| n.parse::<u64>().ok());
        let millis = number(3).unwrap_or(0) / 1_000_000;
        Self {
            delivered: number(0).unwrap_or(1),
            stream_seq: number(1).unwrap_or(0),
            published_at: Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)),
            message,
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
        self.message.headers.as_ref().unwrap_or(&NONE)
    }
}

/// Whether a command is done with, or waits in the process.
pub(crate) enum Settled {
    Done,
    /// Something is away.
    Wait,
}

/// Why a delivery does not reach the handler.
#[derive(Debug)]
pub(crate) enum Refusal {
    Undecodable(Undecodable),
    /// It is not for its sender, who is told there.
    Unsealed(Unsealed, Option<String>),
    Exhausted,
}

/// Settles the commands of one role.
pub(crate) struct Desk {
    bus: Bus,
    spec: RoleSpec,
}

impl Desk {
    pub(crate) fn new(bus: Bus, spec: RoleSpec) -> Self {
        Self { bus, spec }
    }

    pub(crate) fn spec(&self) -> &RoleSpec {
        &self.spec
    }

    pub(crate) fn took(&self, duration: Duration) {
        metrics::bus().took(self.spec.name, duration);
    }

    /// Reads the command.
    pub(crate) fn open(
        &self,
        taken: &Taken,
        stopping: &CancellationToken,
    ) -> Result<Delivery, Refusal> {
        if taken.delivered > MOST_DELIVERIES.max(u64::from(self.spec.max_attempts)) {
            return Err(Refusal::Exhausted);
        }
        let origin = Origin {
            subject: &taken.message.subject,
            headers: taken.headers(),
            stream_seq: taken.stream_seq,
            published_at: taken.published_at,
        };
        let body = &taken.message.payload;
        let (mut envelope, command) =
            inbound::decode(origin, body).map_err(Refusal::Undecodable)?;
        let text = |name: &str| taken.headers().get(name).map(|value| value.as_str());
        let admitted =
            self.bus
                .seals()
                .admit((text(SEAL), text(ACTOR)), &command, body, &mut envelope);
        if let Err(unsealed) = admitted {
            let reply_to = envelope.reply_to;
            return Err(Refusal::Unsealed(unsealed, reply_to));
        }
        Ok(Delivery {
            envelope,
            command,
            delivered: taken.delivered,
            stream_seq: taken.stream_seq,
            published_at: taken.published_at,
            stopping: stopping.clone(),
        })
    }

    /// Lays aside what does not reach the handler.
    pub(crate) async fn refuse(&self, taken: &Taken, refusal: &Refusal) -> Settled {
        let (reason, problem) = match refusal {
            Refusal::Unsealed(unsealed, reply_to) => {
                return self.turn_away(taken, unsealed, reply_to.as_deref()).await;
            }
            Refusal::Undecodable(error) => (error.to_string(), error.problem()),
            Refusal::Exhausted => {
                let reason = format!("delivered {} times without an outcome", taken.delivered);
                (reason.clone(), failed(&reason))
            }
        };
        let outcome = if matches!(refusal, Refusal::Exhausted) {
            "dead"
        } else {
            "undecodable"
        };
        // The subject is the sender's; a label made of it would be theirs to multiply.
        metrics::bus().settled(self.spec.name, "unknown", outcome);
        self.lay_aside(taken, None, &reason, &problem).await
    }

    /// Answers who asked for what is not theirs. No dead letter is made of it: nobody could redrive
    /// it to any effect, and strangers would fill them.
    async fn turn_away(&self, taken: &Taken, why: &Unsealed, reply_to: Option<&str>) -> Settled {
        metrics::bus().settled(self.spec.name, "unknown", "refused");
        warn!(subject = %taken.message.subject, %why, "command refused");
        if let Some(reply_to) = reply_to {
            let problem = Problem::new(403, "forbidden", why.to_string());
            publish::reply(&self.bus, reply_to, &problem).await;
        }
        self.acknowledge(taken).await;
        Settled::Done
    }

    /// Does what the outcome asks for.
    pub(crate) async fn settle(
        &self,
        taken: &Taken,
        envelope: &CommandEnvelope,
        (role, verb): (&str, &str),
        outcome: Result<(), Failure>,
    ) -> Settled {
        let count = |outcome| {
            metrics::bus().settled(self.spec.name, &format!("{role}.{verb}"), outcome);
        };
        match outcome {
            Ok(()) => {
                count("ok");
                self.acknowledge(taken).await;
                Settled::Done
            }
            Err(Failure::Reject(error)) => {
                count("rejected");
                info!(command.id = %envelope.id, code = error.code(), %error, "command rejected");
                if let Some(reply_to) = &envelope.reply_to {
                    publish::reply(&self.bus, reply_to, &Problem::from(&error)).await;
                }
                self.acknowledge(taken).await;
                Settled::Done
            }
            Err(Failure::Retry { after, reason }) => {
                if taken.delivered < u64::from(self.spec.max_attempts) {
                    count("retried");
                    self.delay(taken, after, &reason).await;
                    return Settled::Done;
                }
                count("dead");
                let reason = format!("given up after {} attempts: {reason}", taken.delivered);
                self.lay_aside(taken, Some(envelope), &reason, &failed(&reason))
                    .await
            }
            Err(Failure::Dead { reason }) => {
                count("dead");
                self.lay_aside(taken, Some(envelope), &reason, &failed(&reason))
                    .await
            }
            Err(Failure::Unavailable(reason)) => {
                count("unavailable");
                warn!(command.id = %envelope.id, reason, "a command waits for what is away");
                Settled::Wait
            }
        }
    }

    async fn delay(&self, taken: &Taken, after: Option<Duration>, reason: &str) {
        let attempt = u32::try_from(taken.delivered.saturating_sub(1)).unwrap_or(u32::MAX);
        let delay = after.unwrap_or_else(|| Backoff::COMMAND.delay(attempt));
        info!(
            attempts = taken.delivered,
            ?delay,
            reason,
            "command to be tried again"
        );
        self.negative(taken, delay).await;
    }

    /// Stores the dead letter, then acknowledges the command; if that is not possible the command
    /// stays where it is.
    async fn lay_aside(
        &self,
        taken: &Taken,
        envelope: Option<&CommandEnvelope>,
        reason: &str,
        problem: &Problem,
    ) -> Settled {
        let letter = dlq::NewLetter {
            taken,
            envelope,
            role: self.spec.name,
            reason,
        };
        if let Err(error) = dlq::store(&self.bus, &letter).await {
            error!(%error, reason, "a dead letter could not be stored, the command stays");
            self.negative(taken, Backoff::COMMAND.longest).await;
            return Settled::Done;
        }
        let labels = metrics::ByRole {
            role: self.spec.name.to_owned(),
        };
        metrics::bus().dead_letters.get_or_create(&labels).inc();
        error!(subject = %taken.message.subject, reason, "command laid aside as a dead letter");
        let tenant = subject::tenant_of(&taken.message.subject);
        let reply_to = tenant.and_then(|tenant| {
            let own = subject::reply_prefix(&tenant);
            let reply_to = inbound::reply_to(taken.headers(), &tenant);
            // What could not be read has no seal to look at.
            reply_to.filter(|to| !self.bus.seals().required || to.starts_with(&own))
        });
        if let Some(reply_to) = reply_to {
            publish::reply(&self.bus, &reply_to, problem).await;
        }
        self.acknowledge(taken).await;
        Settled::Done
    }

    pub(crate) async fn acknowledge(&self, taken: &Taken) {
        self.answer(taken, "+ACK".into()).await;
    }

    /// Still at work.
    pub(crate) async fn in_progress(&self, taken: &Taken) {
        self.answer(taken, "+WPI".into()).await;
    }

    /// Back to the queue at once, for another process.
    pub(crate) async fn give_back(&self, taken: &Taken) {
        self.answer(taken, "-NAK".into()).await;
    }

    async fn negative(&self, taken: &Taken, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.answer(taken, format!("-NAK {{\"delay\":{nanos}}}").into())
            .await;
    }

    /// An answer that is lost costs one more delivery.
    async fn answer(&self, taken: &Taken, body: bytes::Bytes) {
        let Some(reply) = taken.message.reply.clone() else {
            return;
        };
        if let Err(error) = self.bus.client().publish(reply, body).await {
            debug!(%error, "an acknowledgement could not be sent");
        }
    }
}

fn failed(reason: &str) -> Problem {
    Problem::new(500, "command_failed", reason)
}
