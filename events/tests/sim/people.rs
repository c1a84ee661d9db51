//! People who look at those who wait, and grant, refuse, or change the limits.

use nexus_events::RunId;
use nexus_events::command::{GrantBudget, RefuseBudget, ResolveTool, SetLimits};
use nexus_events::ledger::{Ledger, OnExhausted, Scope, Waiting};
use nexus_events::run::{Resolution, Step, ToolPhase, ToolStep};

use super::client::say;
use super::plan;
use super::world::{LEDGER, World};

/// Somebody decides for one who waits.
pub(crate) fn decide(world: &mut World) {
    let doubts = doubts(world);
    if !doubts.is_empty() && world.rng.percent(50) {
        let one = world.rng.index(doubts.len());
        resolve(world, doubts[one].clone());
        return;
    }
    let waiting = waiting(world);
    if !waiting.is_empty() {
        let one = world.rng.index(waiting.len());
        decide_for(world, &waiting[one]);
    }
}

/// Every doubt is resolved.
pub(crate) fn resolve_all(world: &mut World) {
    for one in doubts(world) {
        resolve(world, one);
    }
}

/// For most of those who wait somebody decides.
pub(crate) fn decide_all(world: &mut World) {
    for one in waiting(world) {
        let asks = one.shortage.on_exhausted == OnExhausted::Approve;
        if world.rng.percent(if asks { 80 } else { 30 }) {
            decide_for(world, &one);
        }
    }
}

fn decide_for(world: &mut World, one: &Waiting) {
    let reservation_id = one.ask.reservation_id;
    let rng = &mut world.rng;
    // A run's own account goes with the run: who sets its limits afterwards would bring it back.
    let own = matches!(one.shortage.scope, Scope::Run(_));
    let command = match rng.below(if own { 8 } else { 10 }) {
        0..=5 => GrantBudget {
            reservation_id,
            amount: rng.percent(40).then(|| rng.below(5_000)),
        }
        .into(),
        6 | 7 => RefuseBudget {
            reservation_id,
            reason: Some("no".to_owned()),
        }
        .into(),
        _ => SetLimits {
            scope: one.shortage.scope.clone(),
            window: one.shortage.window,
            ..plan::limits_of_somebody(rng)
        }
        .into(),
    };
    say(world, command);
}

/// Run, call and attempt of what is in doubt.
fn doubts(world: &World) -> Vec<(RunId, String, u32)> {
    let mut doubts = vec![];
    for &run_id in &world.client.runs {
        let run = world.run(run_id);
        if let (Step::Tools { calls, .. }, false) = (&run.step, run.status.is_terminal()) {
            let doubt = |step: &&ToolStep| step.phase == ToolPhase::InDoubt;
            let these = calls.iter().filter(doubt);
            doubts.extend(these.map(|step| (run_id, step.call.id.clone(), step.attempts)));
        }
    }
    doubts
}

/// Somebody looked at what became of it, or thinks so.
fn resolve(world: &mut World, (run_id, call_id, attempt): (RunId, String, u32)) {
    let resolution = (world.rng).pick(&[Resolution::Done, Resolution::Failed, Resolution::Retry]);
    let done = resolution == Resolution::Done;
    let command = ResolveTool {
        run_id,
        call_id,
        resolution,
        output: done.then(|| "booked".into()),
        reason: None,
        attempt: Some(attempt),
    };
    say(world, command.into());
}

fn waiting(world: &World) -> Vec<Waiting> {
    let ledger = world.log.latest::<Ledger>(LEDGER).state;
    let mut waiting: Vec<_> = ledger.all_waiting().map(|(_, one)| one.clone()).collect();
    waiting.sort_by_key(|one| one.place);
    waiting
}
