//! The ledger as bytes, so that one with a million reservations behind it starts in a moment. JSON,
//! as everything else on the bus; a compact format would save little, for most of it are ids.

use serde::{Deserialize, Serialize};

use super::line::{Answer, Line, Waiting};
use super::state::{Settled, Shelf, Windows};
use super::{Ledger, Reservation, Scope};
use crate::ids::{ReservationId, RunId};

/// Changes with what [`Saved`] holds or means: a snapshot of another version is not read.
pub(super) const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Saved {
    accounts: Vec<(Scope, Windows)>,
    held: Vec<(ReservationId, Reservation)>,
    expired: Vec<(ReservationId, Reservation)>,
    settled: (Vec<ReservationId>, Vec<ReservationId>),
    runs: Vec<(RunId, Vec<Scope>)>,
    waiting: Vec<Waiting>,
    answers: Vec<(ReservationId, Answer)>,
    next_place: u64,
}

impl Ledger {
    /// The whole state; none if it could not be written.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let shelf = |shelf: &Shelf| -> Vec<_> {
            shelf
                .by_id
                .iter()
                .map(|(id, held)| (*id, held.clone()))
                .collect()
        };
        let saved = Saved {
            accounts: self
                .accounts
                .iter()
                .map(|(scope, all)| (scope.clone(), *all))
                .collect(),
            held: shelf(&self.held),
            expired: shelf(&self.expired),
            settled: (
                self.settled.young.iter().copied().collect(),
                self.settled.old.iter().copied().collect(),
            ),
            runs: self
                .runs
                .iter()
                .map(|(run, scopes)| (*run, scopes.clone()))
                .collect(),
            waiting: self
                .line
                .all_waiting()
                .map(|(_, waiting)| waiting.clone())
                .collect(),
            answers: self
                .line
                .answers()
                .map(|(id, answer)| (*id, answer.clone()))
                .collect(),
            next_place: self.line.next_place(),
        };
        serde_json::to_vec(&saved).ok()
    }

    /// What [`Self::to_bytes`] wrote; none if it cannot be read.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let saved: Saved = serde_json::from_slice(bytes).ok()?;
        let shelf = |all: Vec<(ReservationId, Reservation)>| {
            let mut shelf = Shelf::default();
            for (id, held) in all {
                shelf.insert(id, held);
            }
            shelf
        };
        Some(Self {
            accounts: saved.accounts.into_iter().collect(),
            held: shelf(saved.held),
            expired: shelf(saved.expired),
            settled: Settled {
                young: saved.settled.0.into_iter().collect(),
                old: saved.settled.1.into_iter().collect(),
            },
            runs: saved.runs.into_iter().collect(),
            line: Line::restored(saved.waiting, saved.answers, saved.next_place),
        })
    }
}
