//! The process manager of a run: what a commit made due, from state alone. Ids derive from the run
//! and the step, so that whoever reacts again (a redelivery, another worker) makes the same commands.
//!
//! The alternative, a consumer of its own that follows every run, costs a hop a step.

use super::{ReservationGranted, Run, Step, ToolPhase};
use crate::command::{
    CallModel, Command, Due, EndOfTime, EndRun, EvaluatePolicy, ExecuteTool, NextRun, Reserve,
    Ring, RingApproval, RunRef, Settle,
};
use crate::ids::CommandId;
use crate::time::Timestamp;

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
        at: None,
    };
    let deadline = |grant: &Option<ReservationGranted>, at: Option<Timestamp>| {
        let (reservation_id, at) = (grant.as_ref()?.reservation_id, at?);
        let run = reference;
        let what = format!("deadline/{reservation_id}");
        let command = EndOfTime {
            run,
            reservation_id,
            deadline: at,
        };
        Some(Due {
            at: Some(at),
            ..due(what, command.into())
        })
    };
    let is_due = |since: &Option<u64>| *since == Some(seq);
    let mut out: Vec<Due> = (run.settling.iter())
        .filter(|settling| settling.since == seq)
        .map(|settling| match settling.reservation_id {
            None => due("end".to_owned(), EndRun { run_id }.into()),
            Some(reservation_id) => {
                let settle = Settle {
                    reservation_id,
                    run_id,
                    spent: settling.spent,
                    ends_run: settling.ends_run,
                };
                due(format!("settle/{reservation_id}"), settle.into())
            }
        })
        .collect();
    if run.makes_way == Some(seq) {
        let next = NextRun {
            session_id: started.event.session.id,
            run_id: Some(run_id),
        };
        out.push(due("next".to_owned(), next.into()));
    }
    for pending in run
        .approvals
        .values()
        .filter(|pending| pending.since == seq)
    {
        let approval_id = pending.asked.approval_id;
        let ring = |ring: Ring, at: Timestamp| Due {
            at: Some(at),
            ..due(
                format!("approval/{approval_id}/{}", ring.as_str()),
                RingApproval {
                    run: reference,
                    approval_id,
                    ring,
                }
                .into(),
            )
        };
        out.extend(pending.asked.escalate_at.map(|at| ring(Ring::Escalate, at)));
        out.push(ring(Ring::Expire, pending.asked.expires_at));
    }
    match &run.step {
        Step::Judge { since, start } if is_due(since) => {
            let what = match (start, run.round) {
                (true, _) => "judge/start".to_owned(),
                (false, 0) => format!("judge/{turn}"),
                (false, round) => format!("judge/{turn}/{round}"),
            };
            let what = match &run.approved {
                Some(approved) => format!("{what}/approved/{}", approved.approval_id),
                None => what,
            };
            out.push(due(what, EvaluatePolicy { run: reference }.into()));
        }
        Step::Reserve { since, .. } if is_due(since) => {
            let what = format!("reserve/{turn}/{}", run.round);
            let reserve = Reserve {
                run: reference,
                turn,
                call_id: None,
            };
            out.push(due(what, reserve.into()));
        }
        Step::Call { since } if is_due(since) => {
            out.extend(deadline(&run.grant, run.deadline));
            let what = format!("call/{turn}/{}", run.round);
            out.push(due(
                what,
                CallModel {
                    run: reference,
                    turn,
                    round: run.round,
                }
                .into(),
            ));
        }
        Step::Tools { since, calls } => {
            if is_due(since) && calls.iter().any(|step| step.phase == ToolPhase::Judge) {
                let mut what = format!("judge/{turn}/tools");
                let judged = calls.iter().filter(|step| step.phase == ToolPhase::Judge);
                for approved in judged.filter_map(|step| step.approved.as_ref()) {
                    what.push_str(&format!("/{}", approved.approval_id));
                }
                out.push(due(what, EvaluatePolicy { run: reference }.into()));
            }
            for step in calls {
                let call_id = step.call.id.clone();
                match &step.phase {
                    ToolPhase::Reserve { since, .. } if is_due(since) => {
                        let what = format!("reserve/{turn}/{}/tool/{call_id}", step.round);
                        let reserve = Reserve {
                            run: reference,
                            turn,
                            call_id: Some(call_id),
                        };
                        out.push(due(what, reserve.into()));
                    }
                    ToolPhase::Ready { since } if is_due(since) => {
                        out.extend(deadline(&step.grant, step.deadline));
                        let what = match step.round {
                            0 => format!("tool/{turn}/{call_id}"),
                            round => format!("tool/{turn}/{call_id}/{round}"),
                        };
                        let execute = ExecuteTool {
                            run: reference,
                            turn,
                            call_id,
                            round: step.round,
                        };
                        out.push(due(what, execute.into()));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    out
}
