//! The ledger's state. Its maps are persistent (shared structure), so that a batch of commands is
//! decided one after another on a cheap copy and recorded as one commit.

use rpds::{HashTrieMapSync, HashTrieSetSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};

use super::line::{Answer, Line, Waiting};
use super::snapshot;
use super::{
    Account, AccountKey, Amounts, BudgetReserved, LedgerEvent, LimitsSet, Scope, Unit, Window,
};
use crate::aggregate::{Aggregate, AggregateKind, Position, SnapshotSpec};
use crate::ids::{ReservationId, RunId};
use crate::time::Timestamp;

/// How long a settlement may be late and still find what it belongs to.
const REMEMBER_EXPIRED_MS: u64 = 7 * 24 * 3_600_000;

/// A busy ledger has a few hundred events in a commit: a tail of as many commits is read in some two
/// tenths of a second, and saving takes some ten milliseconds.
const SNAPSHOT_EVERY_COMMITS: u64 = 512;

/// Limits, reservations and spend of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub(super) accounts: HashTrieMapSync<Scope, Windows>,
    pub(super) held: Shelf,
    pub(super) expired: Shelf,
    pub(super) settled: Settled,
    /// Runs in flight, and where each counts.
    pub(super) runs: HashTrieMapSync<RunId, Vec<Scope>>,
    pub(super) line: Line,
}

/// A scope's accounts, in the order of [`Window::ALL`].
pub(super) type Windows = [Option<Account>; 5];

/// Reservations by id and by the time at which they expire.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) by_id: HashTrieMapSync<ReservationId, Reservation>,
    by_expiry: RedBlackTreeSetSync<(Timestamp, ReservationId)>,
}

impl Shelf {
    pub(super) fn insert(&mut self, id: ReservationId, held: Reservation) {
        self.by_expiry.insert_mut((held.expires_at, id));
        self.by_id.insert_mut(id, held);
    }

    fn remove(&mut self, id: ReservationId) -> Option<Reservation> {
        let held = self.by_id.get(&id)?.clone();
        self.by_id.remove_mut(&id);
        self.by_expiry.remove_mut(&(held.expires_at, id));
        Some(held)
    }

    /// Those that expire at `now` or before, the first one first.
    pub(super) fn until(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (ReservationId, &Reservation)> {
        let due = self.by_expiry.iter().take_while(move |(at, _)| *at <= now);
        due.filter_map(|(_, id)| Some((*id, self.by_id.get(id)?)))
    }
}

/// The reservations that were settled last: two generations, so that the oldest half is forgotten
/// at once and the memory is bounded. It has to last as long as a worker can be asleep between
/// reading a run and asking the ledger for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    pub(super) young: HashTrieSetSync<ReservationId>,
    pub(super) old: HashTrieSetSync<ReservationId>,
}

impl Settled {
    const GENERATION: usize = 32_768;

    fn contains(&self, id: &ReservationId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    fn insert(&mut self, id: ReservationId) {
        if self.young.size() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert_mut(id);
    }
}

/// What is held for a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Who holds it; none for somebody outside.
    pub run_id: Option<RunId>,
    /// Every scope that it counts in.
    pub scopes: Vec<Scope>,
    /// What is held.
    pub amounts: Amounts,
    /// Bound on the prompt's tokens.
    pub input_tokens: u64,
    /// Tokens that the answer may have.
    pub max_output_tokens: u64,
    /// Since when.
    pub since: Timestamp,
    /// When it goes back by itself.
    pub expires_at: Timestamp,
    /// Sequence of the commit that made it.
    pub seq: u64,
}

impl Ledger {
    /// The account of a scope in a window, where it has limits.
    pub fn account(&self, scope: &Scope, window: Window) -> Option<&Account> {
        self.accounts.get(scope)?.get(window.place())?.as_ref()
    }

    /// Every account that one of the scopes has.
    pub fn accounts_of<'a>(
        &'a self,
        scopes: &'a [Scope],
    ) -> impl Iterator<Item = (&'a Scope, Window, &'a Account)> {
        scopes.iter().flat_map(move |scope| {
            let windows = self.accounts.get(scope).into_iter().flatten();
            let named = Window::ALL.into_iter().zip(windows);
            named.filter_map(move |(window, account)| Some((scope, window, account.as_ref()?)))
        })
    }

    /// A reservation that is held.
    pub fn reservation(&self, id: ReservationId) -> Option<&Reservation> {
        self.held.by_id.get(&id)
    }

    /// A reservation that expired and was not settled since.
    pub fn expired(&self, id: ReservationId) -> Option<&Reservation> {
        self.expired.by_id.get(&id)
    }

    /// True for a reservation that was settled lately (among the last 32,768 at least).
    pub fn was_settled(&self, id: ReservationId) -> bool {
        self.settled.contains(&id)
    }

    /// Everything that is held.
    pub fn reservations(&self) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
        self.held.by_id.iter()
    }

    /// A reservation that waits for budget.
    pub fn waiting(&self, id: ReservationId) -> Option<&Waiting> {
        self.line.waiting(id)
    }

    /// Everything that waits, in no order.
    pub fn all_waiting(&self) -> impl Iterator<Item = (&ReservationId, &Waiting)> {
        self.line.all_waiting()
    }

    /// What became of a reservation that waited, until its run settles or gives up.
    pub fn answer(&self, id: ReservationId) -> Option<&Answer> {
        self.line.answer(id)
    }

    /// All such answers.
    pub fn answers(&self) -> impl Iterator<Item = (&ReservationId, &Answer)> {
        self.line.answers()
    }

    /// Those that were decided after the commit `seq`, in the order of the log.
    pub fn answers_after(&self, seq: u64) -> Vec<(ReservationId, &Answer)> {
        if self.line.last_answer() <= seq {
            return vec![];
        }
        let late = self.line.answers().filter(|(_, answer)| answer.seq > seq);
        let mut late: Vec<_> = late.map(|(id, answer)| (*id, answer)).collect();
        late.sort_unstable_by_key(|(id, answer)| (answer.seq, *id));
        late
    }

    /// Runs in flight of which a reservation expired: their holder died, and perhaps nobody is left
    /// to say that they ended.
    pub fn runs_without_word(&self) -> Vec<RunId> {
        let expired = self.expired.by_id.values();
        let runs = expired.filter_map(|gone| gone.run_id);
        let mut runs: Vec<RunId> = runs.filter(|run| self.is_in_flight(*run)).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    /// Whether the run is one of those in flight.
    pub fn is_in_flight(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// When there is something to do without being asked: the next reservation expires, or a window
    /// that somebody waits for begins anew.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let expiry = self.held.by_expiry.first().map(|(at, _)| *at);
        let windows = self.line.queues().map(|(key, _)| key.window);
        let mut wanted: Vec<Window> = windows.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let reset = wanted.into_iter().filter_map(|window| window.next(now));
        reset.chain(expiry).min()
    }

    /// What is held in a scope, whether it has limits or not.
    pub(super) fn held_in(&self, scope: &Scope) -> Amounts {
        let held = self.held.by_id.values();
        let sum = held
            .filter(|held| held.scopes.contains(scope))
            .fold(Amounts::default(), |sum, held| sum.plus(held.amounts));
        let runs = self.runs.values().filter(|scopes| scopes.contains(scope));
        sum.plus(Amounts::default().with(Unit::Runs, runs.count() as u64))
    }

    /// What the scope of new limits holds already. A run that is not in flight holds nothing: the
    /// usual case, and there may be many thousands that do hold something.
    pub(super) fn held_before(&self, set: &LimitsSet) -> Amounts {
        match set.brought_by {
            Some(run) if set.scope == Scope::Run(run) && !self.is_in_flight(run) => {
                Amounts::default()
            }
            _ => self.held_in(&set.scope),
        }
    }

    fn update(&mut self, scopes: &[Scope], at: Timestamp, change: impl Fn(&mut Account)) {
        for scope in scopes {
            let Some(windows) = self.accounts.get_mut(scope) else {
                continue;
            };
            for (window, account) in Window::ALL.into_iter().zip(windows.iter_mut()) {
                if let Some(account) = account {
                    *account = account.at(window, at);
                    change(account);
                }
            }
            let is_over = |account: &Account| account.ended && account.reserved.is_zero();
            if windows.iter().flatten().any(is_over) {
                self.accounts.remove_mut(scope);
            }
        }
    }

    pub(super) fn limit(&mut self, set: &LimitsSet, at: Position) {
        let mut windows = self.accounts.get(&set.scope).copied().unwrap_or_default();
        let Some(place) = windows.get_mut(set.window.place()) else {
            return;
        };
        let account = place.unwrap_or_else(|| Account {
            reserved: self.held_before(set),
            ..Account::default()
        });
        *place = Some(Account {
            limits: set.limits,
            on_exhausted: set.on_exhausted,
            thresholds: set.thresholds,
            told: Amounts::default(),
            ..account.at(set.window, at.time)
        });
        self.accounts.insert_mut(set.scope.clone(), windows);
    }

    pub(super) fn hold(&mut self, made: &BudgetReserved, at: Position) {
        let mut added = made.amounts;
        if let Some(run) = made.run_id.filter(|_| made.opens_run) {
            self.runs.insert_mut(run, made.scopes.clone());
            added.runs = 1;
        }
        self.update(&made.scopes, at.time, |account| {
            account.reserved = account.reserved.plus(added);
        });
        let id = made.reservation_id;
        self.expired.remove(id);
        self.line.answered(id, None, at.seq);
        self.held.insert(
            id,
            Reservation {
                run_id: made.run_id,
                scopes: made.scopes.clone(),
                amounts: made.amounts,
                input_tokens: made.input_tokens,
                max_output_tokens: made.max_output_tokens,
                since: at.time,
                expires_at: made.expires_at,
                seq: at.seq,
            },
        );
    }

    pub(super) fn settle(&mut self, id: ReservationId, spent: Amounts, at: Timestamp) {
        let (back, scopes) = match self.held.remove(id) {
            Some(held) => (held.amounts, held.scopes),
            None => match self.expired.remove(id) {
                Some(gone) => (Amounts::default(), gone.scopes),
                None => return,
            },
        };
        self.line.forget(id);
        self.settled.insert(id);
        self.update(&scopes, at, |account| {
            account.reserved = account.reserved.minus(back);
            account.spent = account.spent.plus(spent);
        });
    }

    pub(super) fn lapse(&mut self, id: ReservationId, at: Timestamp) {
        let Some(held) = self.held.remove(id) else {
            return;
        };
        self.update(&held.scopes, at, |account| {
            account.reserved = account.reserved.minus(held.amounts);
        });
        // Its answer stays: whoever has not told the run yet still has to, so that it asks again.
        self.expired.insert(id, held);
        let long_ago =
            Timestamp::from_millis(at.as_millis().saturating_sub_unsigned(REMEMBER_EXPIRED_MS));
        let forgotten: Vec<_> = self.expired.until(long_ago).map(|(id, _)| id).collect();
        for id in forgotten {
            self.expired.remove(id);
            self.line.forget_answer(id);
        }
    }

    /// The run is no longer in flight, and its own account goes when nothing is held in it.
    pub(super) fn end_run(&mut self, run: RunId, at: Timestamp) {
        let own = Scope::Run(run);
        if let Some(mut windows) = self.accounts.get(&own).copied() {
            for account in windows.iter_mut().flatten() {
                account.ended = true;
            }
            self.accounts.insert_mut(own.clone(), windows);
        }
        let scopes = self.runs.get(&run).cloned();
        self.runs.remove_mut(&run);
        let one = Amounts::default().with(Unit::Runs, u64::from(scopes.is_some()));
        self.update(&scopes.unwrap_or_else(|| vec![own]), at, |account| {
            account.reserved = account.reserved.minus(one);
        });
    }

    pub(super) fn told(&mut self, key: &AccountKey, unit: Unit, percent: u8) {
        let Some(windows) = self.accounts.get_mut(&key.scope) else {
            return;
        };
        if let Some(Some(account)) = windows.get_mut(key.window.place()) {
            account.told = account.told.with(unit, percent.into());
        }
    }
}

impl Aggregate for Ledger {
    const KIND: AggregateKind = AggregateKind::Ledger;
    type Event = LedgerEvent;
    const SNAPSHOT: Option<SnapshotSpec> = Some(SnapshotSpec {
        version: snapshot::VERSION,
        every_commits: SNAPSHOT_EVERY_COMMITS,
    });

    fn save(&self) -> Option<Vec<u8>> {
        self.to_bytes()
    }

    fn restore(bytes: &[u8]) -> Option<Self> {
        Self::from_bytes(bytes)
    }

    fn evolve(&mut self, event: &LedgerEvent, at: Position) {
        match event {
            LedgerEvent::LimitsSet(set) => self.limit(set, at),
            LedgerEvent::BudgetReserved(made) => self.hold(made, at),
            LedgerEvent::BudgetSettled(settled) => {
                self.settle(settled.reservation_id, settled.spent, at.time);
                if let Some(run) = settled.run_id.filter(|_| settled.ends_run) {
                    self.end_run(run, at.time);
                }
            }
            // A fact for people and reports; the settlement beside it carries the amounts.
            LedgerEvent::BudgetOverrun(_) => {}
            LedgerEvent::ThresholdReached(reached) => {
                let (scope, window) = (reached.scope.clone(), reached.window);
                self.told(&AccountKey { scope, window }, reached.unit, reached.percent);
            }
            LedgerEvent::ReservationExpired(expired) => {
                self.lapse(expired.reservation_id, at.time);
            }
            LedgerEvent::ReservationParked(parked) => {
                let (ask, shortage) = (parked.ask.clone(), parked.shortage.clone());
                self.line.park(ask, shortage, at.time, at.seq);
            }
            LedgerEvent::ReservationRequeued(moved) => {
                self.line
                    .requeue(moved.reservation_id, moved.shortage.clone());
            }
            LedgerEvent::ReservationRefused(refused) => {
                let refusal = Some(refused.refusal.clone());
                self.line.answered(refused.reservation_id, refusal, at.seq);
            }
            LedgerEvent::ReservationWithdrawn(gone) => {
                self.line.forget(gone.reservation_id);
                self.settled.insert(gone.reservation_id);
                if let Some(run) = gone.run_id.filter(|_| gone.ends_run) {
                    self.end_run(run, at.time);
                }
            }
            LedgerEvent::RunReleased(released) => self.end_run(released.run_id, at.time),
        }
    }
}
