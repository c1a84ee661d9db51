//! Executes tool calls: started on the log, then the effect, then its outcome.

use nexus_events::CommandId;
use nexus_events::command::{ExecuteTool, RunRef};
use nexus_events::run::{
    ToolCompleted, ToolFailed, ToolOutcome, ToolPhase, record_tool, start_tool,
};

use crate::sim::execute::{load_run, record};
use crate::sim::world::{Step, World};

pub(crate) fn execute(world: &mut World, id: &CommandId, command: ExecuteTool) -> Step<()> {
    let ExecuteTool {
        run: mut reference,
        turn,
        call_id,
        round,
    } = command;
    let run = load_run(world, &mut reference);
    let step = run.tool_step(turn, &call_id);
    let phase = step.filter(|step| step.round == round);
    let phase = phase.map(|step| step.phase.clone());
    if !matches!(
        phase,
        Some(ToolPhase::Ready { .. } | ToolPhase::Started { .. })
    ) {
        return complete(world, reference, id);
    }
    let started = record(world, reference, id, "start", |run, now| {
        start_tool(run, turn, &call_id, "1.0.0", now)
    })?;
    let step = started.state.tool_step(turn, &call_id);
    if !step.is_some_and(|step| matches!(step.phase, ToolPhase::Started { .. })) {
        // What was held for it had expired, or it has an outcome already.
        return complete(world, reference, id);
    }
    world.point("before the tool takes effect")?;
    let duration_ms = world.rng.below(500);
    world.now = world.now.plus_millis(duration_ms);
    let outcome = if world.rng.percent(20) {
        let (code, message) = ("tool_failed".to_owned(), "chance".to_owned());
        ToolOutcome::Failed(ToolFailed {
            turn,
            call_id,
            code,
            message,
            duration_ms,
        })
    } else {
        let output = "2".into();
        ToolOutcome::Completed(ToolCompleted {
            turn,
            call_id,
            output,
            duration_ms,
            tokens: None,
        })
    };
    world.point("after the tool took effect")?;
    record(world, reference, id, "outcome", |run, _| {
        record_tool(run, outcome.clone())
    })
    .map(|_| ())
}

/// Nothing is to be executed (any more); what an earlier delivery recorded may still have to be
/// published: that what was held had expired, or the outcome.
fn complete(world: &mut World, run: RunRef, id: &CommandId) -> Step<()> {
    record(world, run, id, "start", |_, _| vec![])?;
    record(world, run, id, "outcome", |_, _| vec![]).map(|_| ())
}
