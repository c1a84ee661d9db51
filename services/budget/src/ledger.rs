//! One tenant's batch: what each command asks, one commit for all, what each command gets.

use futures_util::StreamExt;
use futures_util::stream;
use nexus_bus::store::{Cause, ReadHint};
use nexus_bus::{Delivery, Failure};
use nexus_bus::{process, trace};
use nexus_events::command::{ReleaseBudget, Reserve};
use nexus_events::ledger::{Answer, Ledger};
use nexus_events::run::{Reserved, reservation_id};
use nexus_events::{
    AggregateId, Command, CommandId, DomainError, ReservationId, RunId, Tenant, Timestamp,
};
use serde_json::{Value, json};
use tracing::Instrument;

use crate::wish::{Verdict, Wish, decide_all, reserved};
use crate::{BudgetRole, SPEC};

/// Runs that are read or told at a time.
const RUNS_AT_A_TIME: usize = 64;

/// A ledger after the batch, as far as its commands need it.
struct Decided {
    seq: u64,
    /// What each command gets.
    given: Vec<Given>,
    /// Those who waited and have an answer that this process has not passed on.
    answers: Vec<(ReservationId, Answer)>,
    /// Runs of which nobody may be left to say that they ended.
    without_word: Vec<RunId>,
}

/// What one command gets.
struct Given {
    verdict: Verdict,
    /// For a run's step: what it learns.
    reserved: Option<Reserved>,
    /// For a run's step: what the ledger holds or keeps a place for under its ids.
    held: Vec<ReservationId>,
    /// For somebody outside: what he is told.
    answer: Option<Value>,
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
        let fail_all = |wishes: Vec<Result<Wish, Failure>>, failure: Failure| {
            let fail = |wish: Result<Wish, Failure>| wish.and(Err(failure.clone()));
            wishes.into_iter().map(fail).collect()
        };
        let decided = match self.decide(tenant, batch, &wishes).await {
            Ok(decided) => decided,
            Err(failure) => return fail_all(wishes, failure),
        };
        // Before any command of the batch is acknowledged: whoever finds it again does it again.
        if let Err(failure) = self.pass_on(tenant, batch, &decided).await {
            return fail_all(wishes, failure);
        }
        let mut told = Vec::with_capacity(batch.len());
        for ((wish, given), delivery) in wishes.into_iter().zip(decided.given).zip(batch) {
            // Its own trace goes on with each command, not with the batch.
            let span = trace::command_span(&delivery.envelope, SPEC.name, delivery.command.verb());
            told.push(self.tell(delivery, wish, given).instrument(span));
        }
        let results = stream::iter(told).buffered(RUNS_AT_A_TIME).collect().await;
        if let Err(error) = self.ensure_timer(tenant).await {
            tracing::warn!(%tenant, %error, "the ledger's timer could not be set; the next batch sets it");
        }
        results
    }

    async fn wish(&self, delivery: &Delivery) -> Result<Wish, Failure> {
        match delivery.command.clone() {
            Command::Reserve(reserve) => self.ask(delivery, reserve).await,
            _ => Wish::of(delivery),
        }
    }

    /// Decides the batch in order on a copy of the ledger, and records it as one commit.
    async fn decide(
        &self,
        tenant: &Tenant,
        batch: &[&Delivery],
        wishes: &[Result<Wish, Failure>],
    ) -> Result<Decided, Failure> {
        let now = self.bus.now();
        let mut verdicts: Vec<Verdict> = vec![];
        let cause = batch_cause(batch, now);
        let decide = |ledger: &Ledger| {
            let (events, said) = decide_all(ledger, wishes, now);
            verdicts = said;
            Ok(events)
        };
        let (id, hint) = (AggregateId::ONLY, ReadHint::UNKNOWN);
        let done = self
            .store
            .execute(tenant, &id, hint, &cause, decide)
            .await?;
        let state = &done.guard.state;
        // None were said where the batch had its commit already.
        verdicts.resize(wishes.len(), Verdict::Decided);
        let seq = done.guard.seq;
        let given = wishes
            .iter()
            .zip(verdicts)
            .map(|(wish, verdict)| given(state, wish, verdict, seq))
            .collect();
        let expires = |wish: &Result<Wish, Failure>| matches!(wish, Ok(Wish::Order(order, _)) if matches!(**order, Command::ExpireReservations(_)));
        let answers = state.answers_after(self.told.get(tenant));
        Ok(Decided {
            seq,
            given,
            answers: answers
                .into_iter()
                .map(|(id, answer)| (id, answer.clone()))
                .collect(),
            without_word: if wishes.iter().any(expires) {
                state.runs_without_word()
            } else {
                vec![]
            },
        })
    }

    /// Passes on what concerns others than the batch's own commands.
    async fn pass_on(
        &self,
        tenant: &Tenant,
        batch: &[&Delivery],
        decided: &Decided,
    ) -> Result<(), Failure> {
        let Some(delivery) = batch.first() else {
            return Ok(());
        };
        self.wake(delivery, &decided.answers).await?;
        self.told.set(tenant, decided.seq);
        self.ask_after(delivery, &decided.without_word).await
    }

    async fn tell(
        &self,
        delivery: &Delivery,
        wish: Result<Wish, Failure>,
        given: Given,
    ) -> Result<(), Failure> {
        match (wish?, given.reserved) {
            (Wish::Reserve(reserve, ask), Some(reserved)) => {
                let asked = ask.reservation_id;
                self.tell_run(delivery, &reserve, asked, reserved, given.held)
                    .await
            }
            (Wish::Reserve(reserve, _) | Wish::Late(reserve), None) => {
                self.complete(delivery, &reserve, given.held).await
            }
            _ => {
                match given.verdict {
                    Verdict::Decided => {}
                    Verdict::Rejected(error) => return Err(Failure::Reject(error)),
                    Verdict::Refused(refusal) => {
                        let exhausted = DomainError::BudgetExhausted(Box::new(refusal));
                        return Err(Failure::Reject(exhausted));
                    }
                }
                if let Some(answer) = given.answer {
                    process::reply(&self.bus, delivery, &answer).await;
                }
                Ok(())
            }
        }
    }
}

fn given(ledger: &Ledger, wish: &Result<Wish, Failure>, verdict: Verdict, seq: u64) -> Given {
    let (mut learned, mut held, mut answer) = (None, vec![], None);
    match wish {
        Ok(Wish::Reserve(reserve, ask)) => {
            learned = reserved(ledger, ask.reservation_id, &verdict);
            held = kept_for(ledger, reserve);
        }
        Ok(Wish::Late(reserve)) => held = kept_for(ledger, reserve),
        Ok(Wish::Hold(hold)) => {
            answer = Some(match ledger.reservation(hold.reservation_id) {
                Some(held) => json!({
                    "reservation_id": hold.reservation_id,
                    "amounts": held.amounts,
                    "expires_at": held.expires_at,
                    "seq": seq,
                }),
                None => json!({ "reservation_id": hold.reservation_id, "seq": seq }),
            });
        }
        Ok(Wish::Order(order, _)) => {
            answer = Some(match &**order {
                Command::ReleaseBudget(ReleaseBudget { reservation_id, .. }) => {
                    json!({ "reservation_id": reservation_id, "seq": seq })
                }
                _ => json!({ "seq": seq }),
            });
        }
        Err(_) => {}
    }
    Given {
        verdict,
        reserved: learned,
        held,
        answer,
    }
}

/// What the ledger holds for a step, or keeps a place in a line for, under the ids of its first
/// rounds.
fn kept_for(ledger: &Ledger, reserve: &Reserve) -> Vec<ReservationId> {
    const ROUNDS: u32 = 24;
    let kept = |id: &ReservationId| {
        ledger.reservation(*id).is_some()
            || ledger.waiting(*id).is_some()
            || ledger.answer(*id).is_some()
    };
    let (run_id, call_id) = (reserve.run.run_id, reserve.call_id.as_deref());
    (0..ROUNDS)
        .map(|round| reservation_id(run_id, reserve.turn, call_id, round))
        .filter(kept)
        .collect()
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
