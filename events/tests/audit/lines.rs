//! An independent account of who waits for what: nobody overtakes, but where a person says so.

use std::collections::BTreeMap;

use nexus_events::ledger::{
    Amounts, BudgetReserved, Ledger, OwnLimits, ReservationParked, Scope, Shortage, Unit, Window,
};
use nexus_events::{ReservationId, RunId};

/// What is waited for: a unit of an account.
pub(super) type Line = (Scope, Window, Unit);

/// One who waits.
pub(super) struct Waits {
    place: u64,
    pub(super) line: Line,
    pub(super) needed: u64,
    pub(super) run: Option<RunId>,
    /// The limits that he brings himself, where the ledger has none.
    own_limits: Vec<OwnLimits>,
}

impl Waits {
    /// How much there is of what he waits for, where the ledger has no account of it yet.
    pub(super) fn brings(&self) -> Option<u64> {
        let (scope, _, unit) = &self.line;
        let own = self.own_limits.iter().find(|own| own.scope == *scope);
        own.and_then(|own| own.limits.get(*unit))
    }
}

#[derive(Default)]
pub(crate) struct Lines {
    waiting: BTreeMap<ReservationId, Waits>,
    next_place: u64,
    /// Whom a person lets go first in the commit that is being looked at.
    favoured: Option<ReservationId>,
}

impl Lines {
    /// A person decides for this one: in the commit that follows he may overtake the others.
    pub(crate) fn favour(&mut self, id: Option<ReservationId>) {
        self.favoured = id;
    }

    /// Everybody who waits.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ReservationId> + '_ {
        self.waiting.keys().copied()
    }

    pub(super) fn park(&mut self, parked: &ReservationParked) {
        let (ask, line) = (&parked.ask, line_of(&parked.shortage));
        let waits = Waits {
            place: self.next_place,
            needed: parked.shortage.needed,
            run: ask.step.as_ref().map(|step| step.run.run_id),
            own_limits: ask.own_limits.clone(),
            line,
        };
        assert!(waits.run.is_some(), "nobody outside is made to wait");
        let before = self.waiting.insert(ask.reservation_id, waits);
        assert!(before.is_none(), "{} waits twice", ask.reservation_id);
        self.next_place += 1;
    }

    pub(super) fn requeue(&mut self, id: ReservationId, shortage: &Shortage) {
        self.assert_turn(id);
        let waits = self
            .waiting
            .get_mut(&id)
            .expect("only who waits is moved to another line");
        let line = line_of(shortage);
        assert_ne!(waits.line, line, "{id} is moved to where it stands");
        waits.line = line;
        waits.needed = shortage.needed;
    }

    /// Who waited is served in turn; whoever comes now takes nothing that others wait for. True for
    /// the former.
    pub(super) fn serve(
        &mut self,
        made: &BudgetReserved,
        parks: impl Fn(&Scope, Window) -> bool,
    ) -> bool {
        let id = made.reservation_id;
        if self.waiting.contains_key(&id) {
            self.assert_turn(id);
            self.leave(id);
            return true;
        }
        let runs = u64::from(made.opens_run);
        let takes = made.amounts.plus(Amounts::default().with(Unit::Runs, runs));
        for (other, waits) in &self.waiting {
            let (scope, window, unit) = &waits.line;
            let same = made.scopes.contains(scope) && takes.get(*unit) > 0;
            assert!(
                !same || !parks(scope, *window),
                "{id} overtakes {other}, who waits for {:?}",
                waits.line
            );
        }
        false
    }

    pub(super) fn leave(&mut self, id: ReservationId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Who is first, in each line.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&ReservationId, &Waits)> {
        self.waiting.iter().filter(|(id, _)| self.is_first(**id))
    }

    pub(super) fn compare(&self, ledger: &Ledger) {
        for (id, waits) in &self.waiting {
            let waiting = ledger.waiting(*id).expect("who waits is in the ledger");
            let line = line_of(&waiting.shortage);
            assert_eq!((waiting.place, &line), (waits.place, &waits.line), "{id}");
        }
        assert_eq!(ledger.all_waiting().count(), self.waiting.len());
    }

    fn assert_turn(&self, id: ReservationId) {
        assert!(
            self.favoured == Some(id) || self.is_first(id),
            "{id} is not the first of its line"
        );
    }

    fn is_first(&self, id: ReservationId) -> bool {
        self.waiting.get(&id).is_some_and(|one| {
            let before = |other: &Waits| other.line == one.line && other.place < one.place;
            !self.waiting.values().any(before)
        })
    }
}

fn line_of(shortage: &Shortage) -> Line {
    (shortage.scope.clone(), shortage.window, shortage.unit)
}
