//! Commands: published durably, then their outcome is waited for. Once the bus has a command it will
//! be handled whatever dies, so that a role which does not answer in time is no failure.

use std::time::Duration;

use nexus_bus::{CommandMeta, publish_command};
use nexus_events::{Command, CommandId, Problem, RunId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::http::ApiError;
use crate::http::problem::internal;
use crate::http::trace::Trace;
use crate::identity::Caller;

/// How long the outcome of a command is waited for that starts a program first: as long as a server of
/// tools may take to start, if nothing else is configured.
const PROGRAM_STARTS: Duration = Duration::from_secs(30);

/// A command that is to be sent.
pub(crate) struct Order<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) trace: Trace,
    pub(crate) command: Command,
    /// The run that it concerns.
    pub(crate) run: Option<RunId>,
    /// The same key on the same subject is the same command.
    pub(crate) key: Option<String>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// It was handled.
    Done(T),
    /// The bus has it; nobody has answered yet.
    Accepted,
}

/// The outcome of a command on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RunDone {
    /// The run.
    pub(crate) run_id: RunId,
    /// Sequence up to which the run was read or written: give it as `min_seq`. Null while no role
    /// has answered; the command is accepted all the same.
    pub(crate) seq: Option<u64>,
}

/// Sends a command and waits for its outcome.
pub(crate) async fn send<T: DeserializeOwned>(
    app: &App,
    order: Order<'_>,
) -> Result<Outcome<T>, ApiError> {
    let begins_a_program = matches!(order.command, Command::ImportTools(_));
    let waiting = app.replies().expect().map_err(|_| {
        ApiError::unavailable(
            "overloaded",
            "too many commands wait for their outcome; ask again",
        )
    })?;
    let mut meta = CommandMeta::new(command_id(&order), "nexus/gateway");
    meta.correlation = order.run;
    meta.traceparent = Some(order.trace.0.to_string());
    meta.actor = Some(order.caller.actor.clone());
    meta.reply_to = Some(waiting.subject());
    meta.reply_confirmed = true;
    let publish = publish_command(app.bus(), &order.caller.tenant, &order.command, &meta);
    let published = app.in_time(publish).await?;
    if published.duplicate {
        // Nobody handles it again, so nobody will answer.
        return Ok(Outcome::Accepted);
    }
    let patience = match begins_a_program {
        true => PROGRAM_STARTS,
        false => Duration::from_millis(app.config().reply_timeout_ms),
    };
    match waiting.outcome(patience).await {
        None => Ok(Outcome::Accepted),
        Some(outcome) => read(&outcome)
            .map(Outcome::Done)
            .map_err(|error| error.until_reset(app.bus().now())),
    }
}

fn command_id(order: &Order<'_>) -> CommandId {
    match &order.key {
        Some(key) => {
            let what = format!("{}.{}", order.command.role(), order.command.verb());
            let run = order.run.map(|run| run.to_string()).unwrap_or_default();
            CommandId::derive(&format!("{run}/{key}"), &what)
        }
        None => CommandId::random(Uuid::now_v7()),
    }
}

/// An outcome is a problem or what the command gives.
fn read<T: DeserializeOwned>(outcome: &[u8]) -> Result<T, ApiError> {
    if let Ok(problem) = serde_json::from_slice::<Problem>(outcome) {
        return Err(problem.into());
    }
    serde_json::from_slice(outcome).map_err(|error| internal(&error))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn an_outcome_is_a_problem_or_not() {
        let run = RunId::derive(&["x"]);
        let good = format!(r#"{{"run_id":"{run}","seq":7}}"#);
        assert_eq!(
            read::<RunDone>(good.as_bytes()).unwrap(),
            RunDone {
                run_id: run,
                seq: Some(7)
            }
        );
        let problem = Problem::new(409, "wrong_state", "it has ended");
        let error = read::<RunDone>(&serde_json::to_vec(&problem).unwrap()).unwrap_err();
        assert_eq!(error.code(), "wrong_state");
        assert_eq!(read::<RunDone>(b"nonsense").unwrap_err().code(), "internal");
    }
}
