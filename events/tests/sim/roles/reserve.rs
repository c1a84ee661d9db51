//! A step asks the ledger, and its run learns what the ledger said.

use nexus_events::command::Reserve;
use nexus_events::ledger::{self, Ledger};
use nexus_events::run::{Granted, Reserved, Run, ask, record_reservation, reservation_id};
use nexus_events::{CommandId, ReservationId};

use super::budget::{Cause, decide, give_back};
use crate::sim::execute::{load_run, record};
use crate::sim::world::{LEDGER, Step, World};

pub(super) fn reserve(world: &mut World, id: &CommandId, command: Reserve) -> Step<()> {
    let Reserve {
        run: mut reference,
        turn,
        ref call_id,
    } = command;
    let call_id = call_id.as_deref();
    let run = load_run(world, &mut reference);
    let wanted = ask(&run, turn, call_id, &world.catalog).expect("the model is known");
    world.point("before asking the ledger")?;
    let mut said = None;
    if let Some(wanted) = wanted {
        let reserve = |ledger: &Ledger, now| ledger::reserve(ledger, &wanted, now);
        let word = match decide(world, &Cause::of(id), reserve)? {
            Err(refusal) => Some(Reserved::Refused(refusal)),
            Ok(ledger) => said_of(&ledger, wanted.reservation_id),
        };
        said = word.map(|word| (wanted.reservation_id, word));
    }
    world.point("before the run learns of it")?;
    let learn = |run: &Run, _| match &said {
        // The step may have asked anew while this worker slept.
        Some((wanted, word)) if run.awaits().contains(wanted) => {
            record_reservation(run, turn, call_id, word.clone())
        }
        // It waits for nothing, or it was held and settled meanwhile.
        _ => vec![],
    };
    record(world, reference, id, "", learn)?;
    // Even where the run has a commit of this command: an earlier delivery may have been refused,
    // and this one, from an older read of the run, granted.
    give_back_all(world, &command)
}

/// What the ledger says of a reservation.
fn said_of(ledger: &Ledger, reservation_id: ReservationId) -> Option<Reserved> {
    if let Some(waiting) = ledger.waiting(reservation_id) {
        return Some(Reserved::Parked(waiting.shortage.clone()));
    }
    let held = ledger.reservation(reservation_id)?;
    Some(Reserved::Granted(Granted {
        reservation_id,
        amounts: held.amounts,
        max_output_tokens: held.max_output_tokens,
        expires_at: held.expires_at,
        ledger_seq: held.seq,
    }))
}

/// Gives back what the ledger has for a step, under the ids of its first tries, and its run neither
/// knows nor waits for.
fn give_back_all(world: &mut World, command: &Reserve) -> Step<()> {
    const TRIES: u32 = 8;
    let run_id = command.run.run_id;
    let (turn, call_id) = (command.turn, command.call_id.as_deref());
    let run = world.run(run_id);
    let ledger = world.log.latest::<Ledger>(LEDGER).state;
    let has = |id: ReservationId| {
        let held = ledger.reservation(id).is_some();
        held || ledger.waiting(id).is_some() || ledger.answer(id).is_some()
    };
    let (knows, awaits) = (run.knows(), run.awaits());
    let strange: Vec<_> = (0..TRIES)
        .map(|round| reservation_id(run_id, turn, call_id, round))
        .filter(|id| has(*id) && !knows.contains(id) && !awaits.contains(id))
        .collect();
    for id in strange {
        give_back(world, id, run_id, run.status.is_terminal())?;
    }
    Ok(())
}
