//! The ledger at every sequence, folded by the platform's own fold for what it holds, and counted here
//! anew for what must not happen twice.

use std::collections::{BTreeMap, HashMap, HashSet};

use nexus_events::ledger::{Ledger, LedgerEvent, Scope, Unit, Window};
use nexus_events::run::RunEvent;
use nexus_events::{Aggregate, ReservationId, RunId, Tenant};
use nexus_projections::Facts as Of;

use super::super::facts::Facts;
use super::super::logbook::Book;
use super::Row;
use super::runs::events;

/// In every scope and at every sequence: spent + reserved ≤ limit, but for what a provider reported
/// beyond what it was allowed, and what was settled when it had expired.
pub(super) fn within_limits(facts: &Facts) -> Row {
    let (mut checked, mut breaches) = (0, vec![]);
    let mut ledgers: HashMap<Tenant, Watched> = HashMap::new();
    for logged in &facts.book.log {
        let Of::Ledger(commit) = &logged.commit.facts else {
            continue;
        };
        let watched = ledgers.entry(logged.commit.tenant.clone()).or_default();
        for event in commit.recorded(logged.commit.seq) {
            let scopes = watched.take(&event.event);
            watched.ledger.evolve(&event.event, event.at);
            for over in watched.over(&scopes) {
                breaches.push(format!(
                    "{} at {}: {over}",
                    logged.commit.tenant, event.at.seq
                ));
            }
            checked += 1;
        }
    }
    Row::new("P2", "ledger within every limit", checked, breaches)
}

/// A ledger, and what may be over its limits.
#[derive(Default)]
struct Watched {
    ledger: Ledger,
    scopes: HashMap<ReservationId, Vec<Scope>>,
    /// By how much an account may be over in each unit.
    beyond: HashMap<Scope, u64>,
}

impl Watched {
    /// The scopes that an event is about.
    fn take(&mut self, event: &LedgerEvent) -> Vec<Scope> {
        match event {
            LedgerEvent::BudgetReserved(made) => {
                self.scopes.insert(made.reservation_id, made.scopes.clone());
                made.scopes.clone()
            }
            LedgerEvent::LimitsSet(set) => vec![set.scope.clone()],
            LedgerEvent::BudgetSettled(settled) => {
                let late = settled.late.then_some(settled.spent.tokens);
                self.allow(settled.reservation_id, late.unwrap_or(0))
            }
            LedgerEvent::BudgetOverrun(over) => self.allow(over.reservation_id, over.excess.tokens),
            _ => vec![],
        }
    }

    fn allow(&mut self, id: ReservationId, tokens: u64) -> Vec<Scope> {
        let scopes = self.scopes.get(&id).cloned().unwrap_or_default();
        for scope in &scopes {
            *self.beyond.entry(scope.clone()).or_default() += tokens;
        }
        scopes
    }

    fn over(&self, scopes: &[Scope]) -> Vec<String> {
        let mut over = vec![];
        for (scope, window, account) in self.ledger.accounts_of(scopes) {
            for unit in Unit::ALL {
                let Some(limit) = account.limits.get(unit) else {
                    continue;
                };
                let beyond = match unit {
                    Unit::Tokens => self.beyond.get(scope).copied().unwrap_or(0),
                    _ => 0,
                };
                let used = account.used().get(unit);
                if used > limit.saturating_add(beyond) && window == Window::Lifetime {
                    let unit = unit.as_str();
                    over.push(format!("{scope:?} has {used} of {limit} {unit}"));
                }
            }
        }
        over
    }
}

/// A reservation is made once, and settled once at most.
pub(super) fn settled_once(facts: &Facts) -> Row {
    let mut reserved: HashSet<ReservationId> = HashSet::new();
    let mut settled: HashSet<ReservationId> = HashSet::new();
    let mut breaches = vec![];
    for (_, event) in ledger_events(&facts.book) {
        match event {
            LedgerEvent::BudgetReserved(made) => {
                if settled.contains(&made.reservation_id) {
                    breaches.push(format!(
                        "{} was held after it was settled",
                        made.reservation_id
                    ));
                }
                reserved.insert(made.reservation_id);
            }
            LedgerEvent::BudgetSettled(done) => {
                if !settled.insert(done.reservation_id) {
                    breaches.push(format!("{} was settled twice", done.reservation_id));
                }
                if !reserved.contains(&done.reservation_id) {
                    breaches.push(format!("{} was never held", done.reservation_id));
                }
            }
            _ => {}
        }
    }
    Row::new("P2", "reservations settled once", reserved.len(), breaches)
}

/// In the end nothing is held, and nobody is in flight.
pub(super) fn nothing_held(facts: &Facts) -> Row {
    let count = ledgers(&facts.book).len();
    Row::new("P2", "nothing is held in the end", count, held(&facts.book))
}

/// What is held, waits, or is in flight, in words.
pub(crate) fn held(book: &Book) -> Vec<String> {
    let mut held = vec![];
    for (tenant, ledger) in ledgers(book) {
        let reservations = ledger.reservations();
        held.extend(reservations.map(|(id, of)| format!("{tenant}: {id} of {:?}", of.run_id)));
        held.extend(
            ledger
                .all_waiting()
                .map(|(id, _)| format!("{tenant}: {id} waits")),
        );
        let runs = book.runs.keys().filter(|run| ledger.is_in_flight(**run));
        held.extend(runs.map(|run| format!("{tenant}: {run} is in flight")));
    }
    held
}

fn ledgers(book: &Book) -> BTreeMap<String, Ledger> {
    let mut ledgers: BTreeMap<String, Ledger> = BTreeMap::new();
    for logged in &book.log {
        if let Of::Ledger(commit) = &logged.commit.facts {
            let ledger = ledgers.entry(logged.commit.tenant.to_string()).or_default();
            for event in commit.recorded(logged.commit.seq) {
                ledger.evolve(&event.event, event.at);
            }
        }
    }
    ledgers
}

/// What the ledger says that a run spent is what the run says that it used.
pub(super) fn spent_is_used(facts: &Facts) -> Row {
    let mut spent: BTreeMap<RunId, u64> = BTreeMap::new();
    for (_, event) in ledger_events(&facts.book) {
        if let LedgerEvent::BudgetSettled(settled) = event
            && let Some(run) = settled.run_id
        {
            *spent.entry(run).or_default() += settled.spent.tokens;
        }
    }
    let mut used: BTreeMap<RunId, u64> = BTreeMap::new();
    for (id, event) in events(facts) {
        let usage = match event {
            RunEvent::LlmCompleted(done) => done.usage,
            RunEvent::LlmFailed(failed) => failed.usage,
            RunEvent::LlmAborted(aborted) => aborted.usage,
            RunEvent::ContextSummarised(summary) => summary.call.usage,
            _ => continue,
        };
        *used.entry(id).or_default() += usage.total_tokens();
    }
    let all: std::collections::BTreeSet<&RunId> = spent.keys().chain(used.keys()).collect();
    let amount = |of: &BTreeMap<RunId, u64>, id| of.get(id).copied().unwrap_or(0);
    let differ = all
        .iter()
        .filter(|id| amount(&spent, id) != amount(&used, id));
    let breaches = differ.map(|id| {
        let (spent, used) = (amount(&spent, id), amount(&used, id));
        format!("{id}: {spent} spent, {used} used")
    });
    let row = Row::new(
        "P2",
        "spent is what runs used",
        all.len(),
        breaches.collect(),
    );
    row.noted(format!("{} tokens", spent.values().sum::<u64>()))
}

fn ledger_events(book: &Book) -> impl Iterator<Item = (&Tenant, &LedgerEvent)> {
    book.log.iter().flat_map(|logged| {
        let events = match &logged.commit.facts {
            Of::Ledger(commit) => commit.events.as_slice(),
            _ => [].as_slice(),
        };
        events.iter().map(|event| (&logged.commit.tenant, event))
    })
}
