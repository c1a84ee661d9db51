//! An independent account of a ledger, kept beside it from its events alone and compared after each
//! of them: what each scope holds and spent, who waits, which runs are in flight, and that no scope
//! ever exceeds its limit but for what an overrun, a late settlement or a limit set below what was
//! used explain.

mod lines;

use std::collections::{BTreeMap, BTreeSet};

use lines::Lines;
use nexus_events::ledger::{
    Account, Amounts, BudgetReserved, BudgetSettled, Ledger, LedgerEvent, Limits, LimitsSet,
    OnExhausted, Scope, Shortage, ThresholdReached, Unit, Window,
};
use nexus_events::{Position, ReservationId, RunId, Timestamp};

#[derive(Default)]
pub(crate) struct Audit {
    held: BTreeMap<ReservationId, (Vec<Scope>, Amounts)>,
    expired: BTreeMap<ReservationId, Vec<Scope>>,
    in_flight: BTreeMap<RunId, Vec<Scope>>,
    accounts: BTreeMap<Scope, BTreeMap<Window, Own>>,
    /// Accounts that went with their runs.
    gone: BTreeSet<Scope>,
    pub(crate) lines: Lines,
    pub(crate) settlements: BTreeMap<ReservationId, u32>,
    pub(crate) reserved: BTreeMap<ReservationId, u32>,
    /// What was spent in each scope outside of runs.
    pub(crate) outside: BTreeMap<Scope, Amounts>,
}

/// What an account must show, and by how much it may exceed its limit.
#[derive(Clone, Copy, Default)]
struct Own {
    number: i64,
    limits: Limits,
    on_exhausted: OnExhausted,
    ended: bool,
    reserved: Amounts,
    spent: Amounts,
    told: Amounts,
    excused: Amounts,
}

impl Audit {
    /// Takes one event; `ledger` has taken it already.
    pub(crate) fn observe(&mut self, event: &LedgerEvent, at: Position, ledger: &Ledger) {
        match event {
            LedgerEvent::LimitsSet(set) => self.limits(set, at),
            LedgerEvent::BudgetReserved(made) => self.reserve(made, at),
            LedgerEvent::BudgetSettled(settled) => self.settle(settled, at),
            LedgerEvent::BudgetOverrun(_) => {}
            LedgerEvent::ThresholdReached(reached) => self.threshold(reached),
            LedgerEvent::ReservationExpired(expired) => {
                let id = expired.reservation_id;
                let (scopes, amounts) = self.held.remove(&id).expect("what expires was held");
                assert_eq!(amounts, expired.amounts, "{id} expires as it was held");
                self.each(&scopes, at, |own| own.gives_back(amounts));
                self.expired.insert(id, scopes);
            }
            LedgerEvent::ReservationParked(parked) => {
                let id = parked.ask.reservation_id;
                assert!(!self.held.contains_key(&id), "{id} waits for what it holds");
                self.too_little(&parked.shortage, at, true);
                self.lines.park(parked);
            }
            LedgerEvent::ReservationRequeued(moved) => {
                self.too_little(&moved.shortage, at, false);
                self.lines.requeue(moved.reservation_id, &moved.shortage);
            }
            LedgerEvent::ReservationRefused(refused) => {
                let waited = self.lines.leave(refused.reservation_id);
                assert!(waited, "only who waits gets word of a refusal later");
            }
            LedgerEvent::ReservationWithdrawn(gone) => {
                self.lines.leave(gone.reservation_id);
                self.end_run(gone.run_id.filter(|_| gone.ends_run), at);
            }
            LedgerEvent::RunReleased(released) => {
                assert!(
                    self.in_flight.contains_key(&released.run_id),
                    "{released:?}"
                );
                self.end_run(Some(released.run_id), at);
            }
        }
        self.compare(ledger);
    }

    /// Nobody waits for what is there: for whoever is first in a line, his account has too little. What
    /// the end of a window gives back is given out when somebody looks at the time.
    pub(crate) fn nobody_waits_in_vain(&self, now: Option<Timestamp>) {
        for (id, waits) in self.lines.heads() {
            let (scope, window, unit) = &waits.line;
            if now.is_none() && *window != Window::Lifetime {
                continue;
            }
            let in_flight = |run: &RunId| self.in_flight.contains_key(run);
            let needed = match unit {
                Unit::Runs => u64::from(!waits.run.as_ref().is_some_and(in_flight)),
                _ => waits.needed,
            };
            let left = match self.own(scope, *window) {
                None => match waits.brings() {
                    // The account went with the run that waits: it ended, and gives up.
                    None => continue,
                    brings => brings,
                },
                Some(mut own) => {
                    now.into_iter().for_each(|now| own.roll(window.number(now)));
                    own.limits.left(own.used()).get(*unit)
                }
            };
            assert!(
                left.is_some_and(|left| left < needed),
                "{id} waits for {needed} of {:?}, of which {left:?} are left",
                waits.line
            );
        }
    }

    /// Every run that is in flight.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = RunId> + '_ {
        self.in_flight.keys().copied()
    }

    fn own(&self, scope: &Scope, window: Window) -> Option<Own> {
        self.accounts.get(scope)?.get(&window).copied()
    }

    fn limits(&mut self, set: &LimitsSet, at: Position) {
        let number = set.window.number(at.time);
        let counts = |scopes: &[Scope]| scopes.contains(&set.scope);
        let held = self.held.values().filter(|(scopes, _)| counts(scopes));
        let reserved = held.fold(Amounts::default(), |sum, (_, amounts)| sum.plus(*amounts));
        let runs = self.in_flight.values().filter(|scopes| counts(scopes));
        let fresh = Own {
            number,
            reserved: reserved.with(Unit::Runs, runs.count() as u64),
            ..Own::default()
        };
        self.gone.remove(&set.scope);
        let windows = self.accounts.entry(set.scope.clone()).or_default();
        let own = windows.entry(set.window).or_insert(fresh);
        own.roll(number);
        own.limits = set.limits;
        own.on_exhausted = set.on_exhausted;
        own.told = Amounts::default();
        // A limit below what is used already blocks; it does not undo.
        own.excused = over(own.used(), set.limits);
    }

    fn reserve(&mut self, made: &BudgetReserved, at: Position) {
        let id = made.reservation_id;
        assert!(
            !self.held.contains_key(&id),
            "{id} was reserved while it is held"
        );
        let tokens = made.input_tokens.saturating_add(made.max_output_tokens);
        assert_eq!(made.amounts.tokens, tokens, "{id}");
        let (accounts, lines) = (&self.accounts, &mut self.lines);
        lines.serve(made, |scope, window| {
            let own = accounts.get(scope).and_then(|all| all.get(&window));
            own.is_some_and(|own| own.on_exhausted == OnExhausted::Park)
        });
        *self.reserved.entry(id).or_default() += 1;
        let new = made.run_id.filter(|run| !self.in_flight.contains_key(run));
        assert_eq!(new.is_some(), made.opens_run, "{id} opens its run");
        let mut takes = made.amounts;
        if let Some(run) = new {
            self.in_flight.insert(run, made.scopes.clone());
            takes.runs += 1;
        }
        self.held.insert(id, (made.scopes.clone(), made.amounts));
        self.expired.remove(&id);
        self.each(&made.scopes, at, |own| {
            own.reserved = own.reserved.plus(takes);
            let over = over(own.used(), own.limits);
            let takes_too_much = |unit: &Unit| takes.get(*unit) > 0 && over.get(*unit) > 0;
            let most = Unit::ALL.into_iter().find(takes_too_much);
            assert_eq!(most, None, "{id} takes more than there is");
        });
    }

    fn settle(&mut self, settled: &BudgetSettled, at: Position) {
        let id = settled.reservation_id;
        *self.settlements.entry(id).or_default() += 1;
        // It may have expired, and wait again.
        self.lines.leave(id);
        let was_expired = self.expired.remove(&id);
        let held = self.held.remove(&id);
        assert_eq!(settled.late, held.is_none(), "{id} is late when it expired");
        let (scopes, amounts) = held
            .or_else(|| Some((was_expired?, Amounts::default())))
            .expect("what is settled is held or expired");
        let spent = settled.spent;
        let excess = spent.minus(amounts);
        self.each(&scopes, at, |own| {
            own.gives_back(amounts);
            own.spent = own.spent.plus(spent);
            own.excused = own.excused.plus(excess);
        });
        self.end_run(settled.run_id.filter(|_| settled.ends_run), at);
        if settled.run_id.is_none() {
            for scope in scopes {
                let sum = self.outside.entry(scope).or_default();
                *sum = sum.plus(spent);
            }
        }
    }

    /// A run that ended counts nowhere any more, and its own account goes when nothing is held in it.
    fn end_run(&mut self, run: Option<RunId>, at: Position) {
        let Some(run) = run else { return };
        let own = Scope::Run(run);
        for account in self.accounts.get_mut(&own).into_iter().flatten() {
            account.1.ended = true;
        }
        let was = self.in_flight.remove(&run);
        let one = Amounts::default().with(Unit::Runs, u64::from(was.is_some()));
        self.each(&was.unwrap_or_else(|| vec![own]), at, |own| {
            own.gives_back(one);
        });
    }

    /// It is told once a window, when it is so.
    fn threshold(&mut self, reached: &ThresholdReached) {
        let (unit, percent) = (reached.unit, reached.percent);
        let windows = self.accounts.get_mut(&reached.scope);
        let own = windows.and_then(|windows| windows.get_mut(&reached.window));
        let own = own.expect("a threshold belongs to an account");
        let figures = (own.limits.get(unit), own.spent.get(unit));
        assert_eq!(
            figures,
            (Some(reached.limit), reached.spent),
            "of {reached:?}"
        );
        let (limit, spent) = (u128::from(reached.limit), u128::from(reached.spent));
        assert!(spent * 100 >= limit * u128::from(percent), "{reached:?}");
        assert!(own.told.get(unit) < u64::from(percent), "{reached:?} again");
        own.told = own.told.with(unit, percent.into());
    }

    /// Whoever waits is told true figures. A newcomer may find that there is enough, and others
    /// before him.
    fn too_little(&self, shortage: &Shortage, at: Position, newcomer: bool) {
        let Some(mut own) = self.own(&shortage.scope, shortage.window) else {
            return;
        };
        own.roll(shortage.window.number(at.time));
        let unit = shortage.unit;
        let figures = (own.limits.get(unit), own.spent.get(unit));
        assert_eq!(
            figures,
            (Some(shortage.limit), shortage.spent),
            "{shortage:?}"
        );
        assert_eq!(own.reserved.get(unit), shortage.reserved, "{shortage:?}");
        assert_eq!(own.on_exhausted, shortage.on_exhausted, "{shortage:?}");
        let others_first = newcomer && own.on_exhausted == OnExhausted::Park;
        let line = (shortage.scope.clone(), shortage.window, unit);
        let somebody = self.lines.heads().any(|(_, waits)| waits.line == line);
        assert!(
            shortage.missing() > 0 || others_first && somebody,
            "there is enough: {shortage:?}"
        );
    }

    fn each(&mut self, scopes: &[Scope], at: Position, change: impl Fn(&mut Own)) {
        for scope in scopes {
            let Some(windows) = self.accounts.get_mut(scope) else {
                continue;
            };
            for (window, own) in windows.iter_mut() {
                own.roll(window.number(at.time));
                change(own);
            }
            let is_over = |own: &Own| own.ended && own.reserved.is_zero();
            if windows.values().any(is_over) {
                self.accounts.remove(scope);
                self.gone.insert(scope.clone());
            }
        }
    }

    fn compare(&self, ledger: &Ledger) {
        for (scope, windows) in &self.accounts {
            for (window, own) in windows {
                let account = ledger.account(scope, *window);
                let account = account.unwrap_or_else(|| panic!("{scope:?} has no account"));
                let figures = (account.limits, account.reserved, account.spent);
                assert_eq!(
                    figures,
                    (own.limits, own.reserved, own.spent),
                    "{scope:?} {window:?}"
                );
                let over = over(account.used(), account.limits);
                assert!(
                    over.minus(own.excused).is_zero(),
                    "{scope:?} {window:?} is overspent: {account:?}"
                );
            }
        }
        for scope in &self.gone {
            let stays = ledger.accounts_of(std::slice::from_ref(scope)).count();
            assert_eq!(stays, 0, "{scope:?} ended and holds nothing");
        }
        for run in self.in_flight.keys() {
            assert!(ledger.is_in_flight(*run), "{run} is in flight");
        }
        self.lines.compare(ledger);
    }
}

impl Own {
    fn roll(&mut self, number: i64) {
        if number > self.number {
            self.number = number;
            self.spent = Amounts::default();
            self.told = Amounts::default();
            // Only a limit set below what is held goes on into the next window.
            self.excused = over(self.reserved, self.limits);
        }
    }

    fn gives_back(&mut self, amounts: Amounts) {
        self.reserved = self.reserved.minus(amounts);
    }

    fn used(&self) -> Amounts {
        self.spent.plus(self.reserved)
    }
}

fn over(used: Amounts, limits: Limits) -> Amounts {
    let over = |sum: Amounts, unit| {
        let over = limits.get(unit).map_or(0, |limit| {
            let used: u64 = used.get(unit);
            used.saturating_sub(limit)
        });
        sum.with(unit, over)
    };
    Unit::ALL.into_iter().fold(Amounts::default(), over)
}

/// A ledger as text in a fixed order: its maps have none.
pub(crate) fn view(
    ledger: &Ledger,
    scopes: &[Scope],
    ids: &[ReservationId],
    runs: &[RunId],
) -> String {
    let mut accounts: Vec<String> = ledger
        .accounts_of(scopes)
        .map(|(scope, window, account): (_, _, &Account)| {
            format!("{scope:?} {window:?} {account:?}")
        })
        .collect();
    accounts.sort();
    let reservation = |&id: &ReservationId| {
        let (held, expired) = (ledger.reservation(id), ledger.expired(id));
        let waits = (ledger.waiting(id), ledger.answer(id));
        format!(
            "{id} {held:?} {expired:?} {} {waits:?}",
            ledger.was_settled(id)
        )
    };
    let reservations: Vec<String> = ids.iter().map(reservation).collect();
    let in_flight: Vec<bool> = runs.iter().map(|run| ledger.is_in_flight(*run)).collect();
    let held = (
        ledger.reservations().count(),
        ledger.all_waiting().count(),
        ledger.answers().count(),
    );
    format!("{accounts:#?} {reservations:#?} {in_flight:?} {held:?}")
}
