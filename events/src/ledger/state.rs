//! The ledger's state. Its maps are persistent (shared structure), so that a batch of commands is
//! decided one after another on a cheap copy and recorded as one commit.

use rpds::{HashTrieMapSync, HashTrieSetSync};

use super::{Amounts, LedgerEvent, Limits, Scope, Window};
use crate::aggregate::{Aggregate, AggregateKind, Position};
use crate::ids::{ReservationId, RunId};
use crate::time::Timestamp;

/// Limits, reservations and spend of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accounts: HashTrieMapSync<AccountKey, Account>,
    reservations: HashTrieMapSync<ReservationId, Reservation>,
    expired: HashTrieMapSync<ReservationId, Reservation>,
    settled: Settled,
}

/// The reservations that were settled last: two generations, so that the oldest half is forgotten
/// at once and the memory is bounded. It has to last as long as a worker can be asleep between
/// reading a run and asking the ledger for it.
#[derive(Clone, Debug, Default)]
struct Settled {
    young: HashTrieSetSync<ReservationId>,
    old: HashTrieSetSync<ReservationId>,
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

/// A scope in a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountKey {
    /// Whose.
    pub scope: Scope,
    /// In which window.
    pub window: Window,
}

/// What a scope may spend in a window, and what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The limits.
    pub limits: Limits,
    /// What is held.
    pub reserved: Amounts,
    /// What was spent in the window.
    pub spent: Amounts,
    /// The window's number; spend of an earlier one no longer counts.
    pub window_number: i64,
}

impl Account {
    /// As it stands at `now`: a window that has passed took its spend with it. A clock that goes
    /// back never reopens a window.
    #[must_use]
    pub fn at(mut self, window: Window, now: Timestamp) -> Self {
        let number = window.number(now);
        if number > self.window_number {
            self.window_number = number;
            self.spent = Amounts::default();
        }
        self
    }

    /// What counts against the limits.
    pub fn used(&self) -> Amounts {
        self.spent.plus(self.reserved)
    }
}

/// What is held for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Who holds it.
    pub run_id: RunId,
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
        self.accounts.get(&AccountKey {
            scope: scope.clone(),
            window,
        })
    }

    /// Every account that one of the scopes has.
    pub fn accounts_of<'a>(
        &'a self,
        scopes: &'a [Scope],
    ) -> impl Iterator<Item = (AccountKey, &'a Account)> {
        scopes.iter().flat_map(move |scope| {
            Window::ALL.into_iter().filter_map(move |window| {
                let key = AccountKey {
                    scope: scope.clone(),
                    window,
                };
                self.accounts.get(&key).map(|account| (key, account))
            })
        })
    }

    /// A reservation that is held.
    pub fn reservation(&self, id: ReservationId) -> Option<&Reservation> {
        self.reservations.get(&id)
    }

    /// A reservation that expired and was not settled since.
    pub fn expired(&self, id: ReservationId) -> Option<&Reservation> {
        self.expired.get(&id)
    }

    /// True for a reservation that was settled lately (among the last 32,768 at least).
    pub fn was_settled(&self, id: ReservationId) -> bool {
        self.settled.contains(&id)
    }

    /// Everything that is held.
    pub fn reservations(&self) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
        self.reservations.iter()
    }

    /// When the next reservation expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.reservations.values().map(|held| held.expires_at).min()
    }

    fn update(&mut self, scopes: &[Scope], at: Timestamp, change: impl Fn(&mut Account)) {
        let keys: Vec<AccountKey> = self.accounts_of(scopes).map(|(key, _)| key).collect();
        for key in keys {
            if let Some(account) = self.accounts.get_mut(&key) {
                *account = account.at(key.window, at);
                change(account);
            }
        }
    }
}

impl Aggregate for Ledger {
    const KIND: AggregateKind = AggregateKind::Ledger;
    type Event = LedgerEvent;

    fn evolve(&mut self, event: &LedgerEvent, at: Position) {
        match event {
            LedgerEvent::LimitsSet(set) => {
                let key = AccountKey {
                    scope: set.scope.clone(),
                    window: set.window,
                };
                let account = self.accounts.get(&key).copied().unwrap_or_else(|| Account {
                    reserved: self.held_in(&set.scope),
                    ..Account::default()
                });
                let account = Account {
                    limits: set.limits,
                    ..account.at(set.window, at.time)
                };
                self.accounts.insert_mut(key, account);
            }
            LedgerEvent::BudgetReserved(made) => {
                self.update(&made.scopes, at.time, |account| {
                    account.reserved = account.reserved.plus(made.amounts);
                });
                self.expired.remove_mut(&made.reservation_id);
                self.reservations.insert_mut(
                    made.reservation_id,
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
            LedgerEvent::BudgetSettled(settled) => {
                let (held, scopes) = match self.reservations.get(&settled.reservation_id) {
                    Some(held) => (held.amounts, held.scopes.clone()),
                    None => match self.expired.get(&settled.reservation_id) {
                        Some(gone) => (Amounts::default(), gone.scopes.clone()),
                        None => return,
                    },
                };
                self.reservations.remove_mut(&settled.reservation_id);
                self.expired.remove_mut(&settled.reservation_id);
                self.settled.insert(settled.reservation_id);
                self.update(&scopes, at.time, |account| {
                    account.reserved = account.reserved.minus(held);
                    account.spent = account.spent.plus(settled.spent);
                });
            }
            // A fact for people and reports; the settlement beside it carries the amounts.
            LedgerEvent::BudgetOverrun(_) => {}
            LedgerEvent::ReservationExpired(expired) => {
                let Some(held) = self.reservations.get(&expired.reservation_id).cloned() else {
                    return;
                };
                self.reservations.remove_mut(&expired.reservation_id);
                self.update(&held.scopes, at.time, |account| {
                    account.reserved = account.reserved.minus(held.amounts);
                });
                self.expired.insert_mut(expired.reservation_id, held);
            }
        }
    }
}

impl Ledger {
    /// What is held in a scope, whether it has limits or not.
    pub(super) fn held_in(&self, scope: &Scope) -> Amounts {
        self.reservations
            .values()
            .filter(|held| held.scopes.contains(scope))
            .fold(Amounts::default(), |sum, held| sum.plus(held.amounts))
    }
}
