//! What the made-up runs ask of their ledgers: held, parked, refused, granted, settled.

use nexus_events::command::{
    EndRun, GrantBudget, HoldBudget, RefuseBudget, ReleaseBudget, RunRef, Settle,
};
use nexus_events::ledger::{
    self, Amounts, Ask, Cheaper, Limits, OnExhausted, OwnLimits, Refusal, RunStep, Scope,
};
use nexus_events::run::*;
use nexus_events::{ReservationId, Tenant};
use rand::Rng;

use super::{Going, Step, World};

impl Going {
    pub(super) fn scopes(&self) -> Vec<Scope> {
        let mut scopes = vec![
            Scope::Tenant,
            Scope::User(self.user.clone()),
            Scope::Agent("default".into()),
            Scope::Session(self.session),
            Scope::Run(self.id),
        ];
        for scope in self.parent.iter().flat_map(|parent| &parent.scopes) {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        scopes
    }

    pub(super) fn own_limits(&self) -> Vec<OwnLimits> {
        let own = self.budget.then(|| OwnLimits {
            scope: Scope::Run(self.id),
            limits: Limits {
                tokens: Some(100_000),
                ..Limits::default()
            },
            on_exhausted: OnExhausted::Reject,
        });
        let inherited = self.parent.iter().flat_map(|parent| &parent.own_limits);
        own.into_iter().chain(inherited.cloned()).collect()
    }

    pub(super) fn reservation(&self, call_id: Option<&str>) -> ReservationId {
        let round = if call_id.is_some() { 0 } else { self.round };
        reservation_id(self.id, self.turn, call_id, round)
    }

    pub(super) fn ask(&self, call_id: Option<&str>) -> Ask {
        let run = RunRef {
            run_id: self.id,
            first_seq: 1,
            last_seq: 1,
        };
        let base = Ask {
            reservation_id: self.reservation(call_id),
            step: Some(RunStep {
                run,
                turn: self.turn,
                call_id: call_id.map(str::to_owned),
            }),
            scopes: self.scopes(),
            own_limits: self.own_limits(),
            model: None,
            input_tokens: 0,
            max_output_tokens: 0,
            min_output_tokens: 0,
            time_ms: 60_000,
            min_time_ms: 1_000,
            extra_cost_usd_micros: 0,
            tool_calls: 1,
            price: Default::default(),
            cheaper: vec![],
            hold_ms: 120_000,
        };
        if call_id.is_some() {
            return base;
        }
        let cheaper = Cheaper {
            model: "cheap".into(),
            price: Default::default(),
            max_output_tokens: 1_000,
        };
        Ask {
            model: Some(
                if self.round == 0 {
                    "nexus-local"
                } else {
                    "cheap"
                }
                .into(),
            ),
            input_tokens: 200,
            max_output_tokens: 1_000,
            min_output_tokens: 16,
            tool_calls: 0,
            cheaper: if self.round == 0 {
                vec![cheaper]
            } else {
                vec![]
            },
            ..base
        }
    }
}

impl World {
    pub(super) fn reserve(&mut self, run: &mut Going) -> bool {
        let ask = run.ask(None);
        let id = ask.reservation_id;
        let ledger = self.ledgers.entry(run.tenant.clone()).or_default();
        match ledger::reserve(ledger, &ask, self.now) {
            Ok(events) => {
                self.ledger(&run.tenant, events, None);
                self.held_or_parked(run, None, id);
                false
            }
            Err(refusal) => self.too_little(run, None, refusal),
        }
    }

    /// The run learns that its step is held, or waits.
    pub(super) fn held_or_parked(
        &mut self,
        run: &mut Going,
        call_id: Option<String>,
        id: ReservationId,
    ) {
        let ledger = &self.ledgers[&run.tenant];
        if let Some(held) = ledger.reservation(id) {
            run.step = Step::Grant(held.clone());
            return;
        }
        let shortage = ledger.waiting(id).unwrap().shortage.clone();
        let parked = RunParked {
            turn: run.turn,
            call_id,
            reservation_id: id,
            shortage,
        };
        self.run(run, vec![parked.into()]);
        run.step = Step::Parked;
    }

    /// True where the run has ended; else a cheaper model is taken.
    pub(super) fn too_little(
        &mut self,
        run: &mut Going,
        call_id: Option<String>,
        refusal: Refusal,
    ) -> bool {
        let shortage = refusal.shortage;
        let refused = ReservationRefused {
            turn: run.turn,
            call_id: call_id.clone(),
            scope: shortage.scope,
            window: shortage.window,
            unit: shortage.unit,
            limit: shortage.limit,
            spent: shortage.spent,
            reserved: shortage.reserved,
            needed: shortage.needed,
        };
        if let Some(to) = refusal.downgrade_to.filter(|_| run.round == 0) {
            let from = "nexus-local".to_owned();
            let turn = run.turn;
            let changed = ModelDowngraded { turn, from, to };
            self.run(run, vec![refused.into(), changed.into()]);
            run.round += 1;
            run.step = Step::Judge;
            return false;
        }
        let (code, message) = ("budget_exhausted".into(), "too little".into());
        let events = vec![refused.into(), RunFailed { code, message }.into()];
        self.run(run, events);
        self.leave(run);
        true
    }

    /// Time passes, somebody settles, or a person says something.
    pub(super) fn wait(&mut self, run: &mut Going) -> bool {
        let id = run.reservation(None);
        let word = self.rng.random_range(0..12);
        if let Some(refusal) = self.answer_of(run, id, word) {
            return self.too_little(run, None, refusal);
        }
        let ledger = &self.ledgers[&run.tenant];
        match ledger.reservation(id) {
            Some(held) => run.step = Step::Grant(held.clone()),
            // Held in the meantime, and expired before the run knew of it.
            None if ledger.waiting(id).is_none() => run.step = Step::Reserve,
            None => {
                self.now = self.now.plus_millis(60_000);
                run.step = Step::Parked;
            }
        }
        false
    }

    pub(super) fn answer_of(
        &mut self,
        run: &Going,
        id: ReservationId,
        word: u32,
    ) -> Option<Refusal> {
        let ledger = &self.ledgers[&run.tenant];
        let waits = ledger.waiting(id).is_some();
        let events = match word {
            0..3 if waits => {
                let grant = GrantBudget {
                    reservation_id: id,
                    amount: None,
                };
                ledger::grant(ledger, &grant, self.now).unwrap()
            }
            3 if waits => {
                let refuse = RefuseBudget {
                    reservation_id: id,
                    reason: Some("not \0 now".into()),
                };
                ledger::refuse(ledger, &refuse, self.now).unwrap()
            }
            _ => ledger::expire(ledger, self.now),
        };
        self.ledger(&run.tenant, events, Some("root"));
        self.ledgers[&run.tenant].answer(id)?.refusal.clone()
    }

    pub(super) fn grant(&mut self, run: &mut Going, held: &ledger::Reservation) {
        self.granted(run, None, held);
        run.step = Step::Answer;
    }

    pub(super) fn granted(
        &mut self,
        run: &Going,
        call_id: Option<&str>,
        held: &ledger::Reservation,
    ) {
        let granted = ReservationGranted {
            turn: run.turn,
            call_id: call_id.map(str::to_owned),
            reservation_id: run.reservation(call_id),
            amounts: held.amounts,
            time_limited: false,
            max_output_tokens: held.max_output_tokens,
            expires_at: held.expires_at,
            ledger_seq: 1,
        };
        self.run(run, vec![granted.into()]);
    }

    /// The run has ended: what it holds or waits for goes back, and it is no longer in flight.
    pub(super) fn leave(&mut self, run: &Going) {
        let (run_id, reservation_id) = (run.id, run.reservation(None));
        let Some(ledger) = self.ledgers.get(&run.tenant).filter(|_| !run.lost) else {
            return;
        };
        let settle = Settle {
            reservation_id,
            run_id,
            spent: Amounts::default(),
            ends_run: true,
        };
        let events = ledger::settle(ledger, &settle, self.now);
        self.ledger(&run.tenant, events, None);
        let end = EndRun { run_id };
        let events = ledger::end_run(&self.ledgers[&run.tenant], &end, self.now);
        self.ledger(&run.tenant, events, None);
    }

    pub(super) fn settle_call(&mut self, run: &Going, call_id: &str, spent: Amounts) {
        let settle = Settle {
            reservation_id: run.reservation(Some(call_id)),
            run_id: run.id,
            spent,
            ends_run: false,
        };
        let events = ledger::settle(&self.ledgers[&run.tenant], &settle, self.now);
        self.ledger(&run.tenant, events, None);
    }

    pub(super) fn settle(&mut self, run: &mut Going, last: bool, spent: Amounts) -> bool {
        let settle = Settle {
            reservation_id: run.reservation(None),
            run_id: run.id,
            spent,
            ends_run: last,
        };
        if run.lost {
            return last;
        }
        let loses = self.strange && self.loses;
        if loses && self.rng.random_ratio(1, 30) {
            let later = self.now.plus_millis(200_000);
            let expired = ledger::expire(&self.ledgers[&run.tenant], later);
            self.now = later;
            self.ledger(&run.tenant, expired, None);
        }
        if loses && self.rng.random_ratio(1, 40) {
            return last;
        }
        let events = ledger::settle(&self.ledgers[&run.tenant], &settle, self.now);
        self.ledger(&run.tenant, events, None);
        last
    }

    /// Somebody outside holds budget.
    pub(super) fn hold(&mut self, tenant: &Tenant) {
        let id = ReservationId::new(self.uuid());
        let hold = HoldBudget {
            reservation_id: id,
            scopes: vec![Scope::User("user-2".into())],
            amounts: Amounts {
                tokens: 300,
                ..Amounts::default()
            },
            model: Some("elsewhere".into()),
            hold_seconds: None,
        };
        let ledger = self.ledgers.entry(tenant.clone()).or_default();
        if let Ok(events) = ledger::hold(ledger, &hold, self.now) {
            self.ledger(tenant, events, Some("user-2"));
            self.holds.push((tenant.clone(), id));
        }
    }

    pub(super) fn release(&mut self) {
        let Some((tenant, reservation_id)) = self.holds.pop() else {
            return;
        };
        let spent = Amounts {
            tokens: 250,
            ..Amounts::default()
        };
        let release = ReleaseBudget {
            reservation_id,
            spent,
        };
        let events = ledger::release(&self.ledgers[&tenant], &release, self.now).unwrap();
        self.ledger(&tenant, events, Some("user-2"));
    }
}
