//! The second half of a reservation: the run learns of it. Whoever handles the command again finds
//! the ledger's half done and completes this one.

use nexus_bus::process::{self, Advanced};
use nexus_bus::{Delivery, Failure};
use nexus_events::command::{Due, EndRun, Reserve, Settle};
use nexus_events::ledger::{Amounts, Answer};
use nexus_events::run::{self, Reserved, Run};
use nexus_events::{Command, CommandId, ReservationId, RunId};

use crate::BudgetRole;
use crate::wish::Wish;

/// Runs that are looked at when reservations expire.
const MOST_ASKED_AFTER: usize = 256;

impl BudgetRole {
    /// What the run's step asks of the ledger.
    pub(crate) async fn ask(&self, delivery: &Delivery, reserve: Reserve) -> Result<Wish, Failure> {
        let asks = |run: &Run| {
            let call_id = reserve.call_id.as_deref();
            // The model was known when the run began: another worker may have it.
            run::ask(run, reserve.turn, call_id, &self.catalog)
                .map_err(|unknown| Failure::retry(unknown.to_string()))
        };
        let known = process::load_run(&self.store, delivery, &reserve.run).await?;
        let mut ask = asks(&known.state)?;
        drop(known);
        if ask.is_none() {
            // Late, or read from a cache that has not heard of what the step waits for: whoever is
            // woken is named by a sequence long before it.
            let (tenant, id) = (&delivery.envelope.tenant, reserve.run.run_id.into());
            let first_seq = reserve.run.first_seq;
            let latest = process::load_latest::<Run>(&self.store, tenant, &id, first_seq).await?;
            ask = asks(&latest.state)?;
        }
        Ok(match ask {
            Some(ask) => Wish::Reserve(reserve, Box::new(ask)),
            None => Wish::Late(reserve),
        })
    }

    pub(crate) async fn tell_run(
        &self,
        delivery: &Delivery,
        reserve: &Reserve,
        asked: ReservationId,
        reserved: Reserved,
        held: Vec<ReservationId>,
    ) -> Result<(), Failure> {
        let call_id = reserve.call_id.as_deref();
        let record = |run: &Run| {
            // The step may have asked anew meanwhile: this is not the answer to that.
            if !run.awaits().contains(&asked) {
                return Ok(vec![]);
            }
            let said = reserved.clone();
            Ok(run::record_reservation(run, reserve.turn, call_id, said))
        };
        let done =
            process::decide_run(&self.bus, &self.store, delivery, reserve.run, "", record).await?;
        self.give_back(delivery, reserve, held, &done).await
    }

    /// The step waits for no reservation. An earlier delivery may have died before it published what
    /// came of it, or between the ledger's half and the run's.
    pub(crate) async fn complete(
        &self,
        delivery: &Delivery,
        reserve: &Reserve,
        held: Vec<ReservationId>,
    ) -> Result<(), Failure> {
        let nothing = |_: &Run| Ok(vec![]);
        let done =
            process::decide_run(&self.bus, &self.store, delivery, reserve.run, "", nothing).await?;
        self.give_back(delivery, reserve, held, &done).await
    }

    /// Settles with nothing what the run neither has nor waits for: it ended, or asked again, while
    /// the ledger reserved, and nobody else will settle it.
    async fn give_back(
        &self,
        delivery: &Delivery,
        reserve: &Reserve,
        held: Vec<ReservationId>,
        run: &Advanced,
    ) -> Result<(), Failure> {
        let run_id = reserve.run.run_id;
        let due: Vec<Due> = held
            .into_iter()
            .filter(|id| !run.run_knows(*id) && !run.run_awaits(*id))
            .map(|reservation_id| {
                let settle = Settle {
                    reservation_id,
                    run_id,
                    spent: Amounts::default(),
                    ends_run: run.ended,
                };
                due(&reservation_id.to_string(), "give-back", settle.into())
            })
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        process::publish_due(&self.bus, delivery, due).await
    }

    /// Those who waited and have an answer ask again, and are told.
    pub(crate) async fn wake(
        &self,
        delivery: &Delivery,
        answers: &[(ReservationId, Answer)],
    ) -> Result<(), Failure> {
        let again = |(id, answer): &(ReservationId, Answer)| {
            let step = &answer.step;
            let reserve = Reserve {
                run: step.run,
                turn: step.turn,
                call_id: step.call_id.clone(),
            };
            due(
                &id.to_string(),
                &format!("answer/{}", answer.seq),
                reserve.into(),
            )
        };
        let due: Vec<Due> = answers.iter().map(again).collect();
        if due.is_empty() {
            return Ok(());
        }
        process::publish_due(&self.bus, delivery, due).await
    }

    /// Runs that ended and of which the ledger had no word are no longer in flight.
    pub(crate) async fn ask_after(
        &self,
        delivery: &Delivery,
        runs: &[RunId],
    ) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let mut ended = vec![];
        for &run_id in runs.iter().take(MOST_ASKED_AFTER) {
            let id = run_id.into();
            let run = process::load_latest::<Run>(&self.store, tenant, &id, 0).await?;
            if run.state.status.is_terminal() {
                let end = EndRun { run_id };
                ended.push(due(&run_id.to_string(), "ended-without-word", end.into()));
            }
        }
        if ended.is_empty() {
            return Ok(());
        }
        process::publish_due(&self.bus, delivery, ended).await
    }
}

fn due(cause: &str, what: &str, command: Command) -> Due {
    Due {
        id: CommandId::derive(cause, what),
        command,
        actor: None,
        at: None,
    }
}
