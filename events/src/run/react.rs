//! The process manager of a run: what a commit made due, from state alone. Ids derive from the run
//! and the step, so that whoever reacts again (a redelivery, another worker) makes the same commands.
//!
//! The alternative, a consumer of its own that follows every run, costs a hop a step.

use super::{Run, Step, ToolPhase};
use crate::command::{
    CallModel, Command, Due, EvaluatePolicy, ExecuteTool, Reserve, RunRef, Settle,
};
use crate::ids::CommandId;

/// What the commit with sequence `seq` made due and is not done yet.
pub fn react(run: &Run, seq: u64, last_seq: u64) -> Vec<Due> {
    let Some(started) = &run.started else {
        return vec![];
    };
    let run_id = started.event.run_id;
    let cause = run_id.to_string();
    let turn = run.turn;
    let reference = RunRef {
        run_id,
        first_seq: started.first_seq,
        last_seq,
    };
    let due = |what: String, command: Command| Due {
        id: CommandId::derive(&cause, &what),
        command,
        actor: None,
    };
    let is_due = |since: &Option<u64>| *since == Some(seq);
    let mut out: Vec<Due> = (run.settling.iter())
        .filter(|settling| settling.since == seq)
        .map(|settling| {
            let (reservation_id, spent) = (settling.reservation_id, settling.spent);
            let what = format!("settle/{reservation_id}");
            due(
                what,
                Settle {
                    reservation_id,
                    run_id,
                    spent,
                }
                .into(),
            )
        })
        .collect();
    match &run.step {
        Step::Judge { since, start } if is_due(since) => {
            let what = if *start {
                "judge/start".to_owned()
            } else {
                format!("judge/{turn}")
            };
            out.push(due(what, EvaluatePolicy { run: reference }.into()));
        }
        Step::Reserve { since } if is_due(since) => {
            let what = format!("reserve/{turn}/{}", run.lapses);
            out.push(due(
                what,
                Reserve {
                    run: reference,
                    turn,
                }
                .into(),
            ));
        }
        Step::Call { since } if is_due(since) => {
            let what = format!("call/{turn}/{}", run.lapses);
            out.push(due(
                what,
                CallModel {
                    run: reference,
                    turn,
                }
                .into(),
            ));
        }
        Step::Tools { since, calls } => {
            if is_due(since) && calls.iter().any(|step| step.phase == ToolPhase::Judge) {
                let what = format!("judge/{turn}/tools");
                out.push(due(what, EvaluatePolicy { run: reference }.into()));
            }
            out.extend(
                calls
                    .iter()
                    .filter(
                        |step| matches!(&step.phase, ToolPhase::Ready { since } if is_due(since)),
                    )
                    .map(|step| {
                        let call_id = step.call.id.clone();
                        let what = format!("tool/{turn}/{call_id}");
                        due(
                            what,
                            ExecuteTool {
                                run: reference,
                                turn,
                                call_id,
                            }
                            .into(),
                        )
                    }),
            );
        }
        _ => {}
    }
    out
}
