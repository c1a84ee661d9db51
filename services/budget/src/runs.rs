//! The second half of a reservation: the run learns of it. Whoever handles the command again finds
//! the ledger's half done and completes this one.

use nexus_bus::process::{self, Advanced};
use nexus_bus::{Delivery, Failure};
use nexus_events::command::{Due, Reserve, Settle};
use nexus_events::ledger::Amounts;
use nexus_events::run::{self, Reserved, Run};
use nexus_events::{CommandId, ReservationId};

use crate::BudgetRole;
use crate::ledger::Wish;

impl BudgetRole {
    /// What the run's turn asks of the ledger.
    pub(crate) async fn ask(&self, delivery: &Delivery, reserve: Reserve) -> Result<Wish, Failure> {
        let run = process::load_run(&self.store, delivery, &reserve.run).await?;
        let Some(info) = run.state.info() else {
            return Ok(Wish::Late(reserve));
        };
        let Some(model) = self.catalog.get(&info.model) else {
            // The model was known when the run began, and this worker's configuration lacks it:
            // another worker may have it.
            let reason = format!(
                "model {:?} is not in this worker's configuration",
                info.model
            );
            return Err(Failure::Retry {
                after: None,
                reason,
            });
        };
        Ok(match run::ask(&run.state, reserve.turn, model) {
            Some(ask) => Wish::Reserve(reserve, ask),
            None => Wish::Late(reserve),
        })
    }

    pub(crate) async fn tell_run(
        &self,
        delivery: &Delivery,
        reserve: &Reserve,
        reserved: Reserved,
    ) -> Result<(), Failure> {
        let held = reserved.as_ref().ok().map(|granted| granted.reservation_id);
        let record = |run: &Run| Ok(run::record_reservation(run, reserve.turn, reserved.clone()));
        let done =
            process::decide_run(&self.bus, &self.store, delivery, reserve.run, "", record).await?;
        self.give_back(delivery, reserve, held, &done).await
    }

    /// The turn waits for no reservation. An earlier delivery may have died before it published what
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
        held: impl IntoIterator<Item = ReservationId>,
        run: &Advanced,
    ) -> Result<(), Failure> {
        let run_id = reserve.run.run_id;
        let due: Vec<Due> = held
            .into_iter()
            .filter(|id| !run.run_knows(*id) && run.awaits != Some(*id))
            .map(|reservation_id| {
                let settle = Settle {
                    reservation_id,
                    run_id,
                    spent: Amounts::default(),
                };
                let id = CommandId::derive(&reservation_id.to_string(), "give-back");
                Due {
                    id,
                    command: settle.into(),
                    actor: None,
                }
            })
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        process::publish_due(&self.bus, delivery, due).await
    }
}
