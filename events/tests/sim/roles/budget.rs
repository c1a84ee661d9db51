//! Keeps the ledger. Its decisions rely on the ledger's state alone, never on which commands were
//! seen: a commit holds the decisions of many, and the log is too long to be searched.

use std::rc::Rc;

use nexus_events::command::{Reserve, SetLimits, Settle};
use nexus_events::ledger::{self, Amounts, Ledger, LedgerEvent};
use nexus_events::run::{Granted, Reserved, Run, ask, record_reservation, reservation_id};
use nexus_events::{CommandId, Commit, ReservationId, Timestamp};

use crate::sim::execute::{load_run, record};
use crate::sim::log::Loaded;
use crate::sim::world::{LEDGER, Step, World};

pub(crate) fn set(world: &mut World, id: &CommandId, command: &SetLimits) -> Step<()> {
    decide(world, id, |ledger, _| {
        Ok::<_, ()>(ledger::set_limits(ledger, command))
    })
    .map(|_| ())
}

pub(crate) fn settle(world: &mut World, id: &CommandId, command: &Settle) -> Step<()> {
    decide(world, id, |ledger, _| {
        Ok::<_, ()>(ledger::settle(ledger, command))
    })
    .map(|_| ())
}

pub(crate) fn expire(world: &mut World, id: &CommandId) -> Step<()> {
    decide(world, id, |ledger, now| {
        Ok::<_, ()>(ledger::expire(ledger, now))
    })
    .map(|_| ())
}

pub(crate) fn reserve(world: &mut World, id: &CommandId, command: Reserve) -> Step<()> {
    let Reserve {
        run: mut reference,
        turn,
    } = command;
    let run = load_run(world, &mut reference);
    let wanted = ask(&run, turn, world.model());
    world.point("before asking the ledger")?;
    if let Some(wanted) = wanted {
        let reserved: Option<Reserved> = match decide(world, id, |ledger, now| {
            ledger::reserve(ledger, &wanted, now)
        })? {
            Err(refusal) => Some(Err(refusal)),
            Ok(ledger) => granted(&ledger, wanted.reservation_id).map(Ok),
        };
        world.point("before the run learns of it")?;
        let learn = |run: &Run, _| match &reserved {
            Some(reserved) => record_reservation(run, turn, reserved.clone()),
            // It was held and settled while this worker slept.
            None => vec![],
        };
        record(world, reference, id, "", learn)?;
    } else {
        record(world, reference, id, "", |_, _| vec![])?;
    }
    // Even where the run has a commit of this command: an earlier delivery may have been refused,
    // and this one, from an older read of the run, granted.
    give_back(world, id, reference.run_id, turn)
}

/// Returns what is held for a turn that does not wait for it any more and never heard of it.
fn give_back(
    world: &mut World,
    id: &CommandId,
    run_id: nexus_events::RunId,
    turn: u32,
) -> Step<()> {
    let run = world.log.latest::<Run>(&run_id.to_string()).state;
    let reservation_id = reservation_id(run_id, turn, run.lapses);
    let known = run
        .grant
        .iter()
        .any(|grant| grant.reservation_id == reservation_id)
        || run
            .settling
            .iter()
            .any(|settling| settling.reservation_id == reservation_id);
    if run.turn != turn || known || ask(&run, turn, world.model()).is_some() {
        return Ok(());
    }
    let nothing = Settle {
        reservation_id,
        run_id,
        spent: Amounts::default(),
    };
    settle(world, id, &nothing)
}

fn granted(ledger: &Ledger, reservation_id: ReservationId) -> Option<Granted> {
    ledger.reservation(reservation_id).map(|held| Granted {
        reservation_id,
        amounts: held.amounts,
        max_output_tokens: held.max_output_tokens,
        expires_at: held.expires_at,
        ledger_seq: held.seq,
    })
}

/// Decides until nobody was faster; the ledger afterwards, or why not.
pub(crate) fn decide<R>(
    world: &mut World,
    cause: &CommandId,
    decide: impl Fn(&Ledger, Timestamp) -> Result<Vec<LedgerEvent>, R>,
) -> Step<Result<Rc<Ledger>, R>> {
    loop {
        let Loaded { state, last_seq } = world.log.latest::<Ledger>(LEDGER);
        world.point("after reading the ledger")?;
        let time = world.now;
        let events = match decide(&state, time) {
            Err(refused) => return Ok(Err(refused)),
            Ok(events) if events.is_empty() => return Ok(Ok(state)),
            Ok(events) => events,
        };
        let commit = Commit {
            id: format!("{cause}/ledger/{last_seq}"),
            causation: cause.clone(),
            correlation: None,
            time,
            traceparent: None,
            actor: None,
            events,
        };
        world.point("before appending to the ledger")?;
        if let Ok(seq) = world.append::<Ledger>(LEDGER, last_seq, commit) {
            world.audit_ledger(&state, seq);
            let ledger = world.log.latest::<Ledger>(LEDGER).state;
            world.point("after appending to the ledger")?;
            return Ok(Ok(ledger));
        }
    }
}
