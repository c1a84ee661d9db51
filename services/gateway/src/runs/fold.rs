//! A run from the log itself, in the read model's form, for as long as the read models have not come
//! to it. What only they know (calls one by one, why the model stopped, for which budget it waits) is
//! left out.

use nexus_events::ledger::Amounts;
use nexus_events::run::{Run, Started, Status, Step, ToolPhase};
use nexus_projections::query::{RunRow, RunStatus};
use serde_json::{Map, Value};

/// The row of a run whose last commit has sequence `last_seq`; none where it does not exist.
pub(crate) fn row(run: &Run, last_seq: u64) -> Option<RunRow> {
    let Started {
        event,
        first_seq,
        at,
    } = run.started.as_ref()?;
    let labels = event
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()));
    Some(RunRow {
        id: event.run_id,
        session_id: event.session.id,
        previous_run_id: event.session.previous.map(|previous| previous.run_id),
        user_id: event.user.user.clone(),
        agent: event.agent.name.clone(),
        agent_version: event.agent.version.clone(),
        model: event.model.clone(),
        tools: event.tools.clone(),
        status: status(run),
        queue_position: None,
        started_at: *at,
        completed_at: None,
        cost: Amounts {
            tokens: run.usage.total_tokens(),
            cost_usd_micros: run.cost_usd_micros,
            time_ms: run.work_ms,
            ..Amounts::default()
        },
        parent_run_id: event.parent.as_ref().map(|parent| parent.run_id),
        waiting_for: vec![],
        budget: event.budget,
        turns: run.turn - u32::from(run.turn > 0 && !answered(run)),
        max_turns: event.max_turns,
        input: event.input.clone(),
        output: run.output().cloned(),
        truncated: false,
        finish: None,
        error_code: None,
        error_message: None,
        trace_id: event.trace_id.clone(),
        metadata: Value::Object(labels.collect::<Map<_, _>>()),
        first_seq: *first_seq,
        last_seq,
    })
}

fn status(run: &Run) -> RunStatus {
    match run.status {
        Status::Completed => RunStatus::Completed,
        Status::Failed => RunStatus::Failed,
        Status::Cancelled => RunStatus::Cancelled,
        Status::Queued => RunStatus::Queued,
        _ if run.paused => RunStatus::Paused,
        Status::Pending | Status::Running if waits(run) => RunStatus::Waiting,
        Status::Pending | Status::Unborn => RunStatus::Pending,
        Status::Running => RunStatus::Running,
    }
}

/// Whether people or the ledger make one of its steps wait.
fn waits(run: &Run) -> bool {
    if !run.approvals.is_empty() {
        return true;
    }
    match &run.step {
        Step::Reserve { parked, .. } => *parked,
        Step::Tools { calls, .. } => calls.iter().map(|call| &call.phase).any(|phase| {
            let parked = matches!(phase, ToolPhase::Reserve { parked: true, .. });
            parked || *phase == ToolPhase::InDoubt
        }),
        _ => false,
    }
}

/// Whether the turn that is going has its answer: then its tools are at work, or the run has ended.
fn answered(run: &Run) -> bool {
    match &run.step {
        Step::Tools { calls, .. } => {
            calls.iter().any(|call| call.phase != ToolPhase::Judge) || !calls.is_empty()
        }
        Step::Idle => run.status == Status::Completed,
        Step::Judge { .. } | Step::Approve { .. } | Step::Reserve { .. } | Step::Call { .. } => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::run::{AgentRef, RunCompleted, RunEvent, RunPaused, RunStarted, SessionLink};
    use nexus_events::{Actor, Aggregate, Position, RunId};

    use super::*;

    fn fold(events: Vec<RunEvent>) -> Run {
        let mut run = Run::default();
        for (event, seq) in events.iter().zip(5..) {
            run.evolve(
                event,
                Position {
                    seq,
                    ..Position::default()
                },
            );
        }
        run
    }

    fn started() -> RunEvent {
        let run_id = RunId::derive(&["x"]);
        RunStarted {
            run_id,
            session: SessionLink {
                id: run_id.own_session(),
                previous: None,
                budget: None,
                policy_context: None,
            },
            user: Actor {
                user: "ada".into(),
                roles: vec![],
                ..Actor::default()
            },
            agent: AgentRef {
                name: "default".into(),
                version: "1".into(),
            },
            model: "m".into(),
            tools: vec![],
            pins: Default::default(),
            input: "hello".into(),
            given: None,
            invoke: None,
            budget: None,
            parent: None,
            max_turns: 4,
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            trace_id: None,
            prompt_tokens: None,
            queued: None,
        }
        .into()
    }

    #[test]
    fn a_fold_looks_like_the_read_model() {
        assert_eq!(row(&Run::default(), 0), None);
        let begun = row(&fold(vec![started()]), 5).unwrap();
        assert_eq!(
            (begun.status, begun.first_seq, begun.turns),
            (RunStatus::Pending, 5, 0)
        );
        assert_eq!(begun.metadata["a"], "b");
        let paused = fold(vec![started(), RunPaused { reason: None }.into()]);
        assert_eq!(row(&paused, 6).unwrap().status, RunStatus::Paused);
        let ended = RunCompleted {
            tokens: 0,
            cost_usd_micros: 0,
            duration_ms: 0,
            client_calls: vec![],
        };
        let ended = fold(vec![started(), ended.into()]);
        assert_eq!(row(&ended, 6).unwrap().status, RunStatus::Completed);
    }
}
