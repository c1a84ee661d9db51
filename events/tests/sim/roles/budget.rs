//! Keeps the ledger. Its decisions rely on the ledger's state alone, never on which commands were
//! seen: a commit holds the decisions of many, and the log is too long to be searched.

use std::rc::Rc;

use nexus_events::command::{EndRun, RunRef, Settle};
use nexus_events::ledger::{self, Amounts, Ledger, LedgerEvent};
use nexus_events::{Command, CommandId, Commit, DomainError, ReservationId, Timestamp};

use super::reserve::reserve;
use crate::sim::log::Loaded;
use crate::sim::world::{LEDGER, Step, Stop, World};

/// Each depth is a process of its own: what it keeps goes when it is killed.
pub(crate) fn handle(world: &mut World, id: &CommandId, command: Command) -> Step<()> {
    let done = take(world, id, command);
    if matches!(done, Err(Stop::Killed)) {
        world.told[world.depth] = 0;
    }
    done
}

fn take(world: &mut World, id: &CommandId, command: Command) -> Step<()> {
    match command {
        Command::Reserve(command) => reserve(world, id, command),
        Command::Settle(command) => always(world, id, |ledger, now| {
            ledger::settle(ledger, &command, now)
        }),
        Command::EndRun(command) => always(world, id, |ledger, now| {
            ledger::end_run(ledger, &command, now)
        }),
        Command::SetLimits(command) => always(world, id, |ledger, now| {
            ledger::set_limits(ledger, &command, now)
        }),
        Command::GrantBudget(command) => {
            let cause = Cause {
                favours: Some(command.reservation_id),
                ..Cause::of(id)
            };
            let grant = |ledger: &Ledger, now| {
                let granted = ledger::grant(ledger, &command, now);
                let waits = ledger.waiting(command.reservation_id).is_some();
                let must = waits && command.amount.is_none();
                assert!(!must || granted.is_ok(), "nobody can grant: {granted:?}");
                granted
            };
            decide(world, &cause, grant)?.map_err(Stop::Rejected)?;
            world.granted += 1;
            Ok(())
        }
        Command::RefuseBudget(command) => {
            let cause = Cause {
                favours: Some(command.reservation_id),
                ..Cause::of(id)
            };
            let refuse = |ledger: &Ledger, now| ledger::refuse(ledger, &command, now);
            decide(world, &cause, refuse)?.map_err(Stop::Rejected)?;
            Ok(())
        }
        Command::HoldBudget(command) => {
            let hold = |ledger: &Ledger, now| ledger::hold(ledger, &command, now);
            // Whoever is refused spends nothing.
            decide(world, &Cause::of(id), hold).map(|_| ())
        }
        Command::ReleaseBudget(command) => {
            let release = |ledger: &Ledger, now| ledger::release(ledger, &command, now);
            decide(world, &Cause::of(id), release)?.map_err(Stop::Rejected)?;
            Ok(())
        }
        Command::ExpireReservations(_) => expire(world, id),
        other => panic!("{other:?} is no command of the budget role"),
    }
}

/// What is held too long goes back. A run that ended before it heard of what it held is in flight
/// until somebody looks after it.
fn expire(world: &mut World, id: &CommandId) -> Step<()> {
    let cause = Cause {
        serves_all: true,
        ..Cause::of(id)
    };
    let expire = |ledger: &Ledger, now| Ok::<_, DomainError>(ledger::expire(ledger, now));
    let ledger = decide(world, &cause, expire)?.map_err(Stop::Rejected)?;
    for run_id in ledger.runs_without_word() {
        world.point("before looking after a run")?;
        if world.run(run_id).status.is_terminal() {
            let end = CommandId::derive(&run_id.to_string(), "ended without word");
            world.queue.publish(end, EndRun { run_id }.into());
        }
    }
    Ok(())
}

/// Gives back what is held for a run, or waits, and no longer concerns it.
pub(super) fn give_back(
    world: &mut World,
    reservation_id: ReservationId,
    run_id: nexus_events::RunId,
    ends_run: bool,
) -> Step<()> {
    world.point("before giving back")?;
    let id = CommandId::derive(&reservation_id.to_string(), "give back");
    let spent = Amounts::default();
    let settle = Settle {
        reservation_id,
        run_id,
        spent,
        ends_run,
    };
    world.queue.publish(id, settle.into());
    Ok(())
}

fn always(
    world: &mut World,
    id: &CommandId,
    events: impl Fn(&Ledger, Timestamp) -> Vec<LedgerEvent>,
) -> Step<()> {
    decide(world, &Cause::of(id), |ledger, now| {
        Ok::<_, ()>(events(ledger, now))
    })
    .map(|_| ())
}

/// What a decision is caused by, and what the audit has to know of it.
pub(crate) struct Cause<'a> {
    id: &'a CommandId,
    /// For whom a person decides.
    favours: Option<ReservationId>,
    /// Afterwards nobody waits for what a window gave back.
    serves_all: bool,
}

impl<'a> Cause<'a> {
    pub(crate) fn of(id: &'a CommandId) -> Self {
        Self {
            id,
            favours: None,
            serves_all: false,
        }
    }
}

/// Decides until nobody was faster; the ledger afterwards, or why not.
pub(crate) fn decide<R>(
    world: &mut World,
    cause: &Cause<'_>,
    decide: impl Fn(&Ledger, Timestamp) -> Result<Vec<LedgerEvent>, R>,
) -> Step<Result<Rc<Ledger>, R>> {
    loop {
        let Loaded { state, last_seq } = world.log.latest::<Ledger>(LEDGER);
        world.point("after reading the ledger")?;
        let time = world.now;
        let events = match decide(&state, time) {
            Ok(events) if !events.is_empty() => events,
            decided => {
                if cause.serves_all && world.log.latest::<Ledger>(LEDGER).last_seq == last_seq {
                    world.audit.nobody_waits_in_vain(Some(time));
                }
                announce(world, &state, last_seq)?;
                return Ok(decided.map(|_| state));
            }
        };
        let commit = Commit {
            id: format!("{}/ledger/{last_seq}", cause.id),
            causation: cause.id.clone(),
            correlation: None,
            time,
            traceparent: None,
            actor: None,
            events,
        };
        world.point("before appending to the ledger")?;
        if world.append::<Ledger>(LEDGER, last_seq, commit).is_ok() {
            world.audit.lines.favour(cause.favours);
            world.audit_ledger(&state);
            world.audit.lines.favour(None);
            if cause.serves_all {
                world.audit.nobody_waits_in_vain(Some(time));
            }
            let Loaded { state, last_seq } = world.log.latest::<Ledger>(LEDGER);
            world.point("after appending to the ledger")?;
            announce(world, &state, last_seq)?;
            return Ok(Ok(state));
        }
    }
}

/// Asks again for every step whose wait is over, so that its run learns of it: what this process has
/// not told yet. One that was just started has told nothing, and tells it all.
fn announce(world: &mut World, ledger: &Ledger, last_seq: u64) -> Step<()> {
    let told = world.told[world.depth];
    for (id, answer) in ledger.answers_after(told) {
        let (seq, step) = (answer.seq, answer.step.clone());
        world.point("before telling who waited")?;
        // A reservation that expired can wait and be answered again.
        let command = CommandId::derive(&id.to_string(), &format!("answer/{seq}"));
        // The run waits since before the ledger decided.
        let run = RunRef {
            last_seq: seq,
            ..step.run
        };
        let (turn, call_id) = (step.turn, step.call_id);
        let reserve = nexus_events::command::Reserve { run, turn, call_id };
        world.queue.publish(command, reserve.into());
    }
    world.told[world.depth] = last_seq;
    Ok(())
}
