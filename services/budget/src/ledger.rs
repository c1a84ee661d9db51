//! One tenant's batch: what each command asks, one commit for all, what each command gets.

use futures_util::StreamExt;
use futures_util::stream;
use nexus_bus::store::{Cause, ReadHint};
use nexus_bus::{Delivery, Failure};
use nexus_bus::{process, trace};
use nexus_events::command::{Reserve, SetLimits, Settle};
use nexus_events::ledger::{self, Ledger, LedgerEvent, Refusal};
use nexus_events::run::{Granted, Reserved, reservation_id};
use nexus_events::{
    Actor, Aggregate, AggregateId, Command, CommandId, Position, ReservationId, Tenant, Timestamp,
};

use tracing::Instrument;

use crate::{BudgetRole, SPEC};

/// Runs that are read or told at a time.
const RUNS_AT_A_TIME: usize = 64;

/// What one command of the batch wants of the ledger.
pub(crate) enum Wish {
    /// Hold this; then tell the run.
    Reserve(Reserve, ledger::Ask),
    /// Account for this.
    Settle(Settle),
    /// Set these, as this actor wants.
    Limits(SetLimits, Actor),
    /// Return what is overdue.
    Expire,
    /// Nothing: the run's turn waits for no reservation (any more).
    Late(Reserve),
}

/// A ledger after the batch, as far as its commands need it.
struct Decided {
    seq: u64,
    reserved: Vec<Option<Reserved>>,
    /// For commands that came late: what the ledger still holds for their turn.
    held: Vec<Vec<ReservationId>>,
}

impl BudgetRole {
    pub(crate) async fn handle_tenant(
        &self,
        tenant: &Tenant,
        batch: &[&Delivery],
    ) -> Vec<Result<(), Failure>> {
        let mut asked = Vec::with_capacity(batch.len());
        for delivery in batch {
            asked.push(self.wish(delivery));
        }
        let wishes: Vec<Result<Wish, Failure>> =
            stream::iter(asked).buffered(RUNS_AT_A_TIME).collect().await;
        let decided = match self.decide(tenant, batch, &wishes).await {
            Ok(decided) => decided,
            Err(failure) => {
                return wishes
                    .into_iter()
                    .map(|wish| wish.and(Err(failure.clone())))
                    .collect();
            }
        };
        let mut told = Vec::with_capacity(batch.len());
        let outcomes = decided.reserved.into_iter().zip(decided.held);
        for ((wish, (reserved, held)), delivery) in wishes.into_iter().zip(outcomes).zip(batch) {
            // Its own trace goes on with each command, not with the batch.
            let span = trace::command_span(&delivery.envelope, SPEC.name, delivery.command.verb());
            let telling = self.tell(delivery, wish, reserved, held, decided.seq);
            told.push(telling.instrument(span));
        }
        let results = stream::iter(told).buffered(RUNS_AT_A_TIME).collect().await;
        if let Err(error) = self.ensure_timer(tenant).await {
            tracing::warn!(%tenant, %error, "the timer that returns overdue reservations could not be set; the next batch sets it");
        }
        results
    }

    /// Decides the batch in order on a copy of the ledger, and records it as one commit.
    async fn decide(
        &self,
        tenant: &Tenant,
        batch: &[&Delivery],
        wishes: &[Result<Wish, Failure>],
    ) -> Result<Decided, Failure> {
        let now = self.bus.now();
        let mut refusals: Vec<Option<Refusal>> = vec![];
        let cause = batch_cause(batch, now);
        let decide = |ledger: &Ledger| {
            let (events, refused) = decide_all(ledger, wishes, now);
            refusals = refused;
            Ok(events)
        };
        let done = self
            .store
            .execute(
                tenant,
                &AggregateId::ONLY,
                ReadHint::UNKNOWN,
                &cause,
                decide,
            )
            .await?;
        let state = &done.guard.state;
        refusals.resize(wishes.len(), None);
        let reserved = wishes
            .iter()
            .zip(refusals)
            .map(|(wish, refusal)| match wish {
                Ok(Wish::Reserve(_, ask)) => refusal
                    .map(Err)
                    .or_else(|| granted(state, ask.reservation_id).map(Ok)),
                _ => None,
            })
            .collect();
        let held = wishes
            .iter()
            .map(|wish| match wish {
                Ok(Wish::Late(reserve) | Wish::Reserve(reserve, _)) => held_for(state, reserve),
                _ => vec![],
            })
            .collect();
        Ok(Decided {
            seq: done.guard.seq,
            reserved,
            held,
        })
    }

    async fn wish(&self, delivery: &Delivery) -> Result<Wish, Failure> {
        match delivery.command.clone() {
            Command::Reserve(reserve) => self.ask(delivery, reserve).await,
            Command::Settle(settle) => Ok(Wish::Settle(settle)),
            Command::SetLimits(limits) => Ok(Wish::Limits(limits, delivery.envelope.actor.clone())),
            Command::ExpireReservations(_) => Ok(Wish::Expire),
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the budget role", other.type_name()),
            }),
        }
    }

    async fn tell(
        &self,
        delivery: &Delivery,
        wish: Result<Wish, Failure>,
        reserved: Option<Reserved>,
        held: Vec<ReservationId>,
        seq: u64,
    ) -> Result<(), Failure> {
        match (wish?, reserved) {
            (Wish::Reserve(reserve, _), Some(reserved)) => {
                self.tell_run(delivery, &reserve, reserved).await
            }
            (Wish::Reserve(reserve, _) | Wish::Late(reserve), None) => {
                self.complete(delivery, &reserve, held).await
            }
            (Wish::Limits(..), _) => {
                process::reply(&self.bus, delivery, &serde_json::json!({ "seq": seq })).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn decide_all(
    ledger: &Ledger,
    wishes: &[Result<Wish, Failure>],
    now: Timestamp,
) -> (Vec<LedgerEvent>, Vec<Option<Refusal>>) {
    let mut draft = ledger.clone();
    let mut events = vec![];
    let mut refusals = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let decided = match wish {
            Ok(Wish::Reserve(_, ask)) => ledger::reserve(&draft, ask, now),
            Ok(Wish::Settle(settle)) => Ok(ledger::settle(&draft, settle)),
            Ok(Wish::Limits(set, by)) => {
                let set = ledger::set_limits(&draft, set).into_iter();
                Ok(set.map(|event| event.asked_by(by)).collect())
            }
            Ok(Wish::Expire) => Ok(ledger::expire(&draft, now)),
            Ok(Wish::Late(_)) | Err(_) => Ok(vec![]),
        };
        refusals.push(decided.as_ref().err().cloned());
        for event in decided.unwrap_or_default() {
            draft.evolve(
                &event,
                Position {
                    time: now,
                    ..Position::default()
                },
            );
            events.push(event);
        }
    }
    (events, refusals)
}

/// What the ledger holds for a turn, under the ids of its first tries.
fn held_for(ledger: &Ledger, reserve: &Reserve) -> Vec<ReservationId> {
    const TRIES: u32 = 8;
    (0..TRIES)
        .map(|lapses| reservation_id(reserve.run.run_id, reserve.turn, lapses))
        .filter(|id| ledger.reservation(*id).is_some())
        .collect()
}

fn granted(ledger: &Ledger, reservation_id: ReservationId) -> Option<Granted> {
    let held = ledger.reservation(reservation_id)?;
    Some(Granted {
        reservation_id,
        amounts: held.amounts,
        max_output_tokens: held.max_output_tokens,
        expires_at: held.expires_at,
        ledger_seq: held.seq,
    })
}

/// A batch's commit is caused by exactly these commands: the same batch again finds its own commit,
/// another one never takes it for its own.
fn batch_cause(batch: &[&Delivery], now: Timestamp) -> Cause {
    let first = batch.first().map(|delivery| &delivery.envelope);
    let ids: Vec<&str> = batch
        .iter()
        .map(|delivery| delivery.envelope.id.as_str())
        .collect();
    let command_id = match ids.as_slice() {
        [one] => CommandId::derive(one, "ledger"),
        many => CommandId::derive(&many.join("\n"), "ledger-batch"),
    };
    let single = batch.len() == 1;
    Cause {
        command_id,
        correlation: first
            .filter(|_| single)
            .and_then(|envelope| envelope.correlation),
        traceparent: first
            .filter(|_| single)
            .and_then(|envelope| envelope.traceparent.clone()),
        actor: first
            .filter(|envelope| single && !envelope.actor.user.is_empty())
            .map(|envelope| envelope.actor.clone()),
        now,
        source: "nexus/budget",
    }
}
