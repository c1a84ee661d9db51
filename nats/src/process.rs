//! What handlers share: a decision on an aggregate, and for a run the commands that its commit made
//! due. Whoever appends to a run reacts to it at once; a consumer of its own for the reaction would
//! cost a hop a step. When a handler dies between the two, its command is delivered again, finds
//! its commit and publishes the same commands, which collapse by their ids.

use std::time::Duration;

use nexus_events::command::{Due, RunRef};
use nexus_events::run::{Run, RunEvent, conclude, react};
use nexus_events::{
    Aggregate, AggregateId, CommandId, DomainError, ReservationId, RunId, SessionId, Tenant,
};
use serde::Serialize;

use crate::inbound::Delivery;
use crate::publish::{self, CommandMeta, Parent};
use crate::store::{Cause, Done, Guard, ReadHint, Store, StoreError};
use crate::worker::Failure;
use crate::{Bus, timer, trace};

/// What became of a decision on a run.
#[derive(Debug)]
pub struct Advanced {
    /// Sequence of the command's commit; of the run's last one if nothing was decided.
    pub seq: u64,
    /// Nothing was decided, now or by an earlier delivery.
    pub nothing_recorded: bool,
    /// It was recorded now, and not by an earlier delivery.
    pub fresh: bool,
    /// Sequence of the run's first commit.
    pub first_seq: u64,
    /// The run's session, where it exists.
    pub session_id: Option<SessionId>,
    /// The run has ended.
    pub ended: bool,
    awaits: Vec<ReservationId>,
    reservations: Vec<ReservationId>,
}

impl Advanced {
    /// Whether the run holds the reservation, or has made its settlement due.
    pub fn run_knows(&self, reservation: ReservationId) -> bool {
        self.reservations.contains(&reservation)
    }

    /// Whether a step of the run waits for the reservation.
    pub fn run_awaits(&self, reservation: ReservationId) -> bool {
        self.awaits.contains(&reservation)
    }
}

/// Loads the run that a command names, as far as the command's sender had seen it.
///
/// # Errors
/// [`Failure`] of the store.
pub async fn load_run(
    store: &Store,
    delivery: &Delivery,
    run: &RunRef,
) -> Result<Guard<Run>, Failure> {
    let id = AggregateId::from(run.run_id);
    Ok(store
        .load(&delivery.envelope.tenant, &id, ReadHint::from(*run))
        .await?)
}

/// Loads an aggregate with everything that is on the log now. Begins at `first_seq` where nothing of
/// it is cached.
///
/// # Errors
/// [`StoreError`].
pub async fn load_latest<A: Aggregate>(
    store: &Store,
    tenant: &Tenant,
    id: &AggregateId,
    first_seq: u64,
) -> Result<Guard<A>, StoreError> {
    drop(
        store
            .load::<A>(tenant, id, ReadHint::between(first_seq, 0))
            .await?,
    );
    store.peek(tenant, id, Duration::ZERO).await
}

/// Decides on the run that a command names, and publishes what that made due. `label` keeps several
/// decisions of one command apart; the first or only one has an empty label.
///
/// # Errors
/// [`Failure`] of the store or of publishing; the command delivered again completes it.
pub async fn decide_run(
    bus: &Bus,
    store: &Store,
    delivery: &Delivery,
    run: RunRef,
    label: &str,
    decide: impl FnMut(&Run) -> Result<Vec<RunEvent>, DomainError>,
) -> Result<Advanced, Failure> {
    advance(bus, store, delivery, run.run_id, run.into(), label, decide).await
}

/// For a command whose work is done: publishes what its commit made due, in case an earlier delivery
/// died before it could. Every handler does this before it lets such a command go.
///
/// # Errors
/// As [`decide_run`].
pub async fn complete(
    bus: &Bus,
    store: &Store,
    delivery: &Delivery,
    run: RunRef,
    label: &str,
) -> Result<(), Failure> {
    decide_run(bus, store, delivery, run, label, |_| Ok(vec![]))
        .await
        .map(drop)
}

/// Decides on a run of which only the id is known.
///
/// # Errors
/// As [`decide_run`].
pub async fn decide_run_by_id(
    bus: &Bus,
    store: &Store,
    delivery: &Delivery,
    run_id: RunId,
    decide: impl FnMut(&Run) -> Result<Vec<RunEvent>, DomainError>,
) -> Result<Advanced, Failure> {
    advance(bus, store, delivery, run_id, ReadHint::UNKNOWN, "", decide).await
}

/// Decides on a run that most likely does not exist yet.
///
/// # Errors
/// As [`decide_run`].
pub async fn start_run(
    bus: &Bus,
    store: &Store,
    delivery: &Delivery,
    run_id: RunId,
    decide: impl FnMut(&Run) -> Result<Vec<RunEvent>, DomainError>,
) -> Result<Advanced, Failure> {
    advance(bus, store, delivery, run_id, ReadHint::ABSENT, "", decide).await
}

/// Decides on an aggregate that makes no commands due.
///
/// # Errors
/// [`Failure`] of the store.
pub async fn decide<A: Aggregate>(
    store: &Store,
    bus: &Bus,
    delivery: &Delivery,
    id: &AggregateId,
    decide: impl FnMut(&A) -> Result<Vec<A::Event>, DomainError>,
) -> Result<Done<A>, Failure> {
    decide_as(store, bus, delivery, id, "", decide).await
}

/// As [`decide`]; `label` keeps several decisions of one command apart.
///
/// # Errors
/// [`Failure`] of the store.
pub async fn decide_as<A: Aggregate>(
    store: &Store,
    bus: &Bus,
    delivery: &Delivery,
    id: &AggregateId,
    label: &str,
    decide: impl FnMut(&A) -> Result<Vec<A::Event>, DomainError>,
) -> Result<Done<A>, Failure> {
    let mut cause = Cause::of(&delivery.envelope, bus.now(), source(delivery));
    if !label.is_empty() {
        cause.command_id = CommandId::derive(delivery.envelope.id.as_str(), label);
    }
    let tenant = &delivery.envelope.tenant;
    Ok(store
        .execute(tenant, id, ReadHint::UNKNOWN, &cause, decide)
        .await?)
}

/// Publishes commands that the delivery made due by other means than a commit of a run.
///
/// # Errors
/// [`Failure`] of publishing.
pub async fn publish_due(bus: &Bus, delivery: &Delivery, due: Vec<Due>) -> Result<(), Failure> {
    let envelope = &delivery.envelope;
    let parent = Parent {
        correlation: envelope.correlation,
        causation: Some(envelope.id.to_string()),
        traceparent: trace::outgoing(envelope.traceparent.as_deref()),
        source: source(delivery),
    };
    publish_all(bus, &envelope.tenant, due, &parent).await
}

/// Publishes what is due now, and sets a timer for what is due later.
async fn publish_all(
    bus: &Bus,
    tenant: &Tenant,
    due: Vec<Due>,
    parent: &Parent,
) -> Result<(), Failure> {
    let (later, now): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|due| due.at.is_some());
    for due in later {
        let Some(at) = due.at else { continue };
        let mut meta = CommandMeta::new(due.id, parent.source);
        meta.correlation = parent.correlation;
        meta.causation = parent.causation.clone();
        // One timer a step: set again, it takes the place of the one before.
        let name = format!("due.{}", meta.id);
        let set = timer::schedule(bus, tenant, &name, at, &due.command, &meta).await;
        set.map_err(|error| Failure::Unavailable(error.to_string()))?;
    }
    if !now.is_empty() {
        publish::publish_due(bus, tenant, now, parent).await?;
    }
    Ok(())
}

/// Answers whoever waits for the command's outcome.
pub async fn reply(bus: &Bus, delivery: &Delivery, outcome: &impl Serialize) {
    if let Some(reply_to) = &delivery.envelope.reply_to {
        crate::publish::reply(bus, reply_to, outcome).await;
    }
}

async fn advance(
    bus: &Bus,
    store: &Store,
    delivery: &Delivery,
    run_id: RunId,
    hint: ReadHint,
    label: &str,
    mut decide: impl FnMut(&Run) -> Result<Vec<RunEvent>, DomainError>,
) -> Result<Advanced, Failure> {
    let envelope = &delivery.envelope;
    let now = bus.now();
    let mut cause = Cause::of(envelope, now, source(delivery));
    let decide = |run: &Run| Ok(conclude(run, decide(run)?, now));
    cause.correlation = Some(run_id);
    if !label.is_empty() {
        cause.command_id = CommandId::derive(envelope.id.as_str(), label);
    }
    let id = AggregateId::from(run_id);
    let done = store
        .execute::<Run, _>(&envelope.tenant, &id, hint, &cause, decide)
        .await?;
    let nothing_recorded = done.fresh && done.events.is_empty();
    let fresh = done.fresh && !done.events.is_empty();
    let state = &done.guard.state;
    let due = if nothing_recorded {
        vec![]
    } else {
        react(state, done.seq, done.guard.seq)
    };
    let advanced = Advanced {
        seq: done.seq,
        nothing_recorded,
        fresh,
        first_seq: done.guard.first_seq,
        session_id: state.info().map(|info| info.session.id),
        ended: state.status.is_terminal(),
        awaits: state.awaits(),
        reservations: state.knows(),
    };
    // Publishing takes a round trip: others may use the run meanwhile.
    drop(done);
    if !due.is_empty() {
        let parent = Parent {
            correlation: Some(run_id),
            causation: Some(cause.command_id.to_string()),
            traceparent: cause.traceparent,
            source: cause.source,
        };
        publish_all(bus, &envelope.tenant, due, &parent).await?;
    }
    Ok(advanced)
}

/// Who handles a command, for `source` of what it publishes.
fn source(delivery: &Delivery) -> &'static str {
    match delivery.command.role() {
        "run" | "session" | "approval" => "nexus/run",
        "budget" => "nexus/budget",
        "policy" => "nexus/policy",
        "llm" => "nexus/llm",
        "tool" => "nexus/tools",
        "webhook" => "nexus/webhooks",
        _ => "nexus",
    }
}
