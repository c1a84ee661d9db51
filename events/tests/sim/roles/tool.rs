//! Executes tool calls: started on the log, then the effect, then its outcome.

use nexus_events::CommandId;
use nexus_events::command::ExecuteTool;
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
    } = command;
    let run = load_run(world, &mut reference);
    let phase = run.tool_step(turn, &call_id).map(|step| step.phase.clone());
    if !matches!(
        phase,
        Some(ToolPhase::Ready { .. } | ToolPhase::Started { .. })
    ) {
        return record(world, reference, id, "outcome", |_, _| vec![]).map(|_| ());
    }
    record(world, reference, id, "start", |run, _| {
        start_tool(run, turn, &call_id, "1.0.0")
    })?;
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
