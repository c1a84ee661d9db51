//! A start that is refused when its caller has been promised a run: with a 202 that could not wait for
//! the decision any longer, or with the bus's acknowledgement and nobody who listens. The run is
//! recorded, as one that failed before it did anything, so that whoever asks for it learns why. Told in
//! time, a refusal leaves no run: a caller that was told may ask again under the same key.

use super::start::check_labels;
use super::{AgentRef, Run, RunEvent, RunFailed, RunStarted, SessionLink, Status};
use crate::agent;
use crate::body::Body;
use crate::catalog::Catalog;
use crate::command::StartRun;
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::ids::RunId;

/// Longest name that is kept of what may be no name at all, in characters.
const NAME_CHARS: usize = 64;

/// A start that is refused.
#[derive(Clone, Debug)]
pub struct RefusedStart<'a> {
    /// The run that will not be.
    pub run_id: RunId,
    /// The command, which may hold anything.
    pub command: &'a StartRun,
    /// Its input, where it is short enough to be kept.
    pub input: Body,
    /// Who wanted it.
    pub user: Actor,
    /// W3C trace id.
    pub trace_id: Option<String>,
}

/// Records the refusal; nothing where the run exists.
pub fn refuse(
    run: &Run,
    start: RefusedStart<'_>,
    catalog: &Catalog,
    why: &DomainError,
) -> Vec<RunEvent> {
    if run.status != Status::Unborn {
        return vec![];
    }
    let command = start.command;
    let name = command.agent.as_deref().unwrap_or(agent::DEFAULT_AGENT);
    let version = agent::newest(name).map_or("unknown", |agent| agent.version);
    let model = (command.model.as_deref()).unwrap_or_else(|| catalog.model_for(name, 0));
    let metadata = match check_labels(&command.metadata) {
        Ok(()) => command.metadata.clone(),
        Err(_) => Default::default(),
    };
    let started = RunStarted {
        run_id: start.run_id,
        // Not the one that it named, which it never joined.
        session: SessionLink {
            id: start.run_id.own_session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        user: start.user,
        agent: AgentRef {
            name: short(name),
            version: version.to_owned(),
        },
        model: short(model),
        tools: vec![],
        pins: Default::default(),
        input: start.input,
        given: None,
        invoke: None,
        budget: None,
        parent: None,
        max_turns: 0,
        metadata,
        trace_id: start.trace_id,
        prompt_tokens: None,
        queued: None,
    };
    let failed = RunFailed {
        code: why.code().to_owned(),
        message: format!("it was refused: {why}"),
    };
    vec![started.into(), failed.into()]
}

fn short(name: &str) -> String {
    name.chars().take(NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Aggregate, Position};
    use crate::run::react;

    fn command(agent: &str) -> StartRun {
        StartRun {
            agent: Some(agent.to_owned()),
            ..StartRun::default()
        }
    }

    fn refused(run: &Run, command: &StartRun) -> Vec<RunEvent> {
        let start = RefusedStart {
            run_id: RunId::derive(&["x"]),
            command,
            input: "hello".into(),
            user: Actor::default(),
            trace_id: None,
        };
        let why = DomainError::invalid("agent", "nobody knows it");
        refuse(run, start, &Catalog::default(), &why)
    }

    #[test]
    fn it_is_a_run_that_failed_and_makes_nothing_due() {
        let mut run = Run::default();
        let events = refused(&run, &command(&"a".repeat(1_000)));
        for (event, index) in events.iter().zip(0..) {
            let at = Position {
                seq: 7,
                index,
                ..Position::default()
            };
            run.evolve(event, at);
        }
        assert_eq!(run.status, Status::Failed);
        assert!(react(&run, 7, 7).is_empty());
        let info = run.info().map(|info| info.agent.name.len());
        assert_eq!(info, Some(NAME_CHARS));
    }

    #[test]
    fn a_run_that_exists_is_left_alone() {
        let mut run = Run::default();
        let started = crate::run::testing::started(RunId::derive(&["x"]));
        run.evolve(&started.into(), Position::default());
        assert!(refused(&run, &command("default")).is_empty());
    }
}
