//! An independent account of a ledger, kept beside it from its events alone and compared after each
//! of them: what each scope holds and spent, and that it never exceeds its limit but for what an
//! overrun, a late settlement or a limit set below what was used explain.

use std::collections::BTreeMap;

use nexus_events::ledger::{
    Account, AccountKey, Amounts, Ledger, LedgerEvent, Limits, Scope, Window,
};
use nexus_events::{Position, ReservationId};

#[derive(Default)]
pub(crate) struct Audit {
    held: BTreeMap<ReservationId, (Vec<Scope>, Amounts)>,
    expired: BTreeMap<ReservationId, Vec<Scope>>,
    pub(crate) settlements: BTreeMap<ReservationId, u32>,
    pub(crate) reserved: BTreeMap<ReservationId, u32>,
    accounts: BTreeMap<(Scope, Window), Own>,
}

/// What an account must show, and by how much it may exceed its limit.
#[derive(Clone, Copy, Default)]
struct Own {
    number: i64,
    limits: Limits,
    reserved: Amounts,
    spent: Amounts,
    excused: Amounts,
}

impl Audit {
    /// Takes one event; `ledger` has taken it already.
    pub(crate) fn observe(&mut self, event: &LedgerEvent, at: Position, ledger: &Ledger) {
        match event {
            LedgerEvent::LimitsSet(set) => self.limits(&set.scope, set.window, set.limits, at),
            LedgerEvent::BudgetReserved(made) => {
                let id = made.reservation_id;
                assert!(
                    !self.held.contains_key(&id),
                    "{id} was reserved while it is held"
                );
                *self.reserved.entry(id).or_default() += 1;
                self.held.insert(id, (made.scopes.clone(), made.amounts));
                self.each(&made.scopes, at, |own| {
                    own.reserved = own.reserved.plus(made.amounts)
                });
            }
            LedgerEvent::BudgetSettled(settled) => {
                let id = settled.reservation_id;
                *self.settlements.entry(id).or_default() += 1;
                let was_expired = self.expired.remove(&id);
                let held = self.held.remove(&id);
                assert_eq!(settled.late, held.is_none(), "{id} is late when it expired");
                let (scopes, amounts) = held
                    .or_else(|| Some((was_expired?, Amounts::default())))
                    .expect("what is settled is held or expired");
                let excess = settled.spent.minus(amounts);
                self.each(&scopes, at, |own| {
                    own.reserved = own.reserved.minus(amounts);
                    own.spent = own.spent.plus(settled.spent);
                    own.excused = own.excused.plus(excess);
                });
            }
            LedgerEvent::BudgetOverrun(_) => {}
            LedgerEvent::ReservationExpired(expired) => {
                let id = expired.reservation_id;
                let (scopes, amounts) = self.held.remove(&id).expect("what expires was held");
                assert_eq!(amounts, expired.amounts, "{id} expires as it was held");
                self.each(&scopes, at, |own| {
                    own.reserved = own.reserved.minus(amounts)
                });
                self.expired.insert(id, scopes);
            }
        }
        self.compare(ledger);
    }

    /// Nothing is held any more.
    pub(crate) fn nothing_is_held(&self) -> bool {
        self.held.is_empty() && self.accounts.values().all(|own| own.reserved.is_zero())
    }

    fn limits(&mut self, scope: &Scope, window: Window, limits: Limits, at: Position) {
        let number = window.number(at.time);
        let holds = |(scopes, _): &&(Vec<Scope>, Amounts)| scopes.contains(scope);
        let held = self.held.values().filter(holds);
        let reserved = held.fold(Amounts::default(), |sum, (_, amounts)| sum.plus(*amounts));
        let fresh = Own {
            number,
            reserved,
            ..Own::default()
        };
        let own = self
            .accounts
            .entry((scope.clone(), window))
            .or_insert(fresh);
        own.roll(number);
        own.limits = limits;
        // A limit below what is used already blocks; it does not undo.
        own.excused = over(own.used(), limits);
    }

    fn each(&mut self, scopes: &[Scope], at: Position, change: impl Fn(&mut Own)) {
        for ((scope, window), own) in &mut self.accounts {
            if scopes.contains(scope) {
                own.roll(window.number(at.time));
                change(own);
            }
        }
    }

    fn compare(&self, ledger: &Ledger) {
        for ((scope, window), own) in &self.accounts {
            let account = ledger.account(scope, *window).expect("an account stays");
            let figures = (account.limits, account.reserved, account.spent);
            let key = AccountKey {
                scope: scope.clone(),
                window: *window,
            };
            assert_eq!(figures, (own.limits, own.reserved, own.spent), "{key:?}");
            let over = over(account.used(), account.limits);
            assert!(
                over.minus(own.excused).is_zero(),
                "{key:?} is overspent: {account:?}"
            );
        }
    }
}

impl Own {
    fn roll(&mut self, number: i64) {
        if number > self.number {
            self.number = number;
            self.spent = Amounts::default();
            // Only a limit set below what is held goes on into the next window.
            self.excused = over(self.reserved, self.limits);
        }
    }

    fn used(&self) -> Amounts {
        self.spent.plus(self.reserved)
    }
}

fn over(used: Amounts, limits: Limits) -> Amounts {
    let over = |limit: Option<u64>, used: u64| limit.map_or(0, |limit| used.saturating_sub(limit));
    Amounts {
        tokens: over(limits.tokens, used.tokens),
        cost_usd_micros: over(limits.cost_usd_micros, used.cost_usd_micros),
        time_ms: over(limits.time_ms, used.time_ms),
    }
}

/// A ledger as text in a fixed order: its maps have none.
pub(crate) fn view(ledger: &Ledger, scopes: &[Scope], ids: &[ReservationId]) -> String {
    let mut accounts: Vec<String> = ledger
        .accounts_of(scopes)
        .map(|(key, account): (_, &Account)| format!("{key:?} {account:?}"))
        .collect();
    accounts.sort();
    let held: Vec<_> = ids
        .iter()
        .map(|&id| {
            (
                id,
                ledger.reservation(id),
                ledger.expired(id),
                ledger.was_settled(id),
            )
        })
        .collect();
    format!("{accounts:#?} {held:#?}")
}
