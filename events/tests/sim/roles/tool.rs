//! Executes tool calls: started on the log, then the effect, then its outcome. A call that must not
//! be made twice is left in doubt where its worker died in between.

use nexus_events::CommandId;
use nexus_events::command::{ExecuteTool, ResolveTool, RunRef};
use nexus_events::run::{
    MOST_ATTEMPTS, Run, ToolCompleted, ToolFailed, ToolOutcome, ToolPhase, WORKER, alive_after_all,
    leave_in_doubt, record_tool, resolve_tool, start_tool,
};
use nexus_events::{Actor, Body};

use crate::sim::execute::{decide_run, load_run, record};
use crate::sim::world::{BOOK, Step, World};

pub(crate) fn execute(world: &mut World, id: &CommandId, command: ExecuteTool) -> Step<()> {
    let ExecuteTool {
        run: mut reference,
        turn,
        call_id,
        round,
    } = command;
    let mut run = load_run(world, &mut reference);
    let started = loop {
        let Some(label) = label(&run, turn, &call_id, round) else {
            return complete(world, reference, id);
        };
        let done = record(world, reference, id, &label, |run, now| {
            start_tool(run, turn, &call_id, now)
        })?;
        if done.fresh || done.seq.is_none() {
            break done;
        }
        // Another delivery of this command was faster.
        run = done.state;
    };
    let step = started.state.tool_step(turn, &call_id);
    if !started.fresh || !step.is_some_and(|step| matches!(step.phase, ToolPhase::Started { .. })) {
        // What was held for it had expired, it is in doubt, or it has an outcome already.
        return complete(world, reference, id);
    }
    let tool = step.map(|step| step.call.name.clone()).unwrap_or_default();
    world.point("before the tool takes effect")?;
    let duration_ms = world.rng.below(500);
    world.now = world.now.plus_millis(duration_ms);
    let outcome = match world.rng.below(20) {
        // Before it takes effect.
        0..=3 => ToolOutcome::Failed(failed(turn, &call_id, "bad_arguments", duration_ms)),
        4 if tool == BOOK => {
            world.takes_effect(reference.run_id, turn, &call_id, &tool);
            return record(world, reference, id, "doubt", |run, now| {
                leave_in_doubt(run, turn, &call_id, "it did not answer in time", now)
            })
            .map(|_| ());
        }
        fails => {
            world.takes_effect(reference.run_id, turn, &call_id, &tool);
            if fails < 7 {
                ToolOutcome::Failed(failed(turn, &call_id, "tool_failed", duration_ms))
            } else {
                ToolOutcome::Completed(ToolCompleted {
                    turn,
                    call_id,
                    output: "2".into(),
                    duration_ms,
                    tokens: None,
                    reused: None,
                })
            }
        }
    };
    world.point("after the tool took effect")?;
    let done = record(world, reference, id, "outcome", |run, _| {
        record_tool(run, outcome.clone())
    })?;
    if let Some(word) = alive_after_all(&done.state, &outcome) {
        world.point("before saying that it is alive")?;
        world
            .queue
            .publish(CommandId::derive(id.as_str(), "alive"), word.into());
        // Whoever left it in doubt by this command may have died before it published what that made
        // due, and nobody comes back for it once this delivery is acknowledged.
        record(world, reference, id, "doubt", |_, _| vec![])?;
    }
    Ok(())
}

/// Under which name this delivery records that it begins; none where there is nothing to begin.
fn label(run: &Run, turn: u32, call_id: &str, round: u32) -> Option<String> {
    let step = run
        .tool_step(turn, call_id)
        .filter(|step| step.round == round)?;
    let idempotent = run.pin(&step.call.name).is_some_and(|pin| pin.idempotent);
    match step.phase {
        ToolPhase::Ready { .. } => Some("start".to_owned()),
        ToolPhase::Started { .. } if !idempotent => Some("doubt".to_owned()),
        ToolPhase::Started { attempts, .. } if attempts >= MOST_ATTEMPTS => {
            Some("outcome".to_owned())
        }
        ToolPhase::Started { attempts, .. } => Some(format!("start/{attempts}")),
        _ => None,
    }
}

fn failed(turn: u32, call_id: &str, code: &str, duration_ms: u64) -> ToolFailed {
    ToolFailed {
        turn,
        call_id: call_id.to_owned(),
        code: code.to_owned(),
        message: "chance".to_owned(),
        duration_ms,
    }
}

/// Nothing is to be executed (any more); what an earlier delivery recorded may still have to be
/// published: that what was held had expired, the doubt, or the outcome.
fn complete(world: &mut World, run: RunRef, id: &CommandId) -> Step<()> {
    for label in ["start", "doubt", "outcome"] {
        record(world, run, id, label, |_, _| vec![])?;
    }
    Ok(())
}

/// A person's word on a call that is in doubt.
pub(crate) fn resolve(world: &mut World, id: &CommandId, command: ResolveTool) -> Step<()> {
    let user = match command.reason {
        Some(_) => WORKER,
        None => "grace",
    };
    let by = Actor {
        user: user.to_owned(),
        ..Actor::default()
    };
    let output = command
        .output
        .as_ref()
        .map(|output| Body::from(output.to_string()));
    decide_run(world, command.run_id, id, "", u64::MAX, |run, _| {
        resolve_tool(run, &command, output.clone(), None, &by)
    })
    .map(|_| ())
}
