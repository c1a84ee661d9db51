//! `run.start`.

use std::collections::BTreeMap;

use super::{
    AgentRef, Given, InQueue, ParentLink, Run, RunEvent, RunStarted, SessionLink, Status, embed,
    given, invoke,
};
use crate::agent::{self, AgentDefinition};
use crate::body::Body;
use crate::catalog::Catalog;
use crate::command::StartRun;
use crate::envelope::Actor;
use crate::error::DomainError;
use crate::ids::RunId;
use crate::tool::{ToolPin, ToolRef, registry};

/// Tools of one run: its model is told of each with every call.
const MOST_TOOLS: usize = 64;

/// Bounds on what a caller may send; configuration.
#[derive(Clone, Copy, Debug)]
pub struct StartLimits {
    /// Length of `input`; of `context` and `client_tools` together, too.
    pub input_bytes: usize,
}

/// Everything that a run begins with; the command and what the handler found out.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The run.
    pub run_id: RunId,
    /// The command, validated.
    pub command: StartRun,
    /// Its input: inline, or in the object store.
    pub input: Body,
    /// What its caller brought ([`Given::of`]).
    pub given: Option<Box<Given>>,
    /// Those of its tools that the tenant registered ([`registry::pins`]).
    pub pins: BTreeMap<String, ToolPin>,
    /// The conversation.
    pub session: SessionLink,
    /// The run that it works for.
    pub parent: Option<ParentLink>,
    /// Who starts it.
    pub user: Actor,
    /// Its place in the session's queue, where it waits for its turn.
    pub queued: Option<InQueue>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// Tokens of [`super::prompt`] and the input together; none where a model of the run has no
    /// tokenizer.
    pub prompt_tokens: Option<u64>,
}

/// What a run is made with, where its command leaves it open too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The agent's newest version.
    pub agent: &'static AgentDefinition,
    /// The model: the command's, the agent's first, the default one.
    pub model: String,
    /// The tools as they were named, with a version or without.
    pub named: Vec<String>,
}

/// Chooses what the command leaves open. The model is one of those that the run may begin with: which
/// one, where the agent's are taken in turn, is known with the run's id, in [`start`].
///
/// # Errors
/// [`DomainError::Invalid`] where the agent is not known; see [`validate`].
pub fn choose(command: &StartRun, catalog: &Catalog) -> Result<Chosen, DomainError> {
    let name = command.agent.as_deref().unwrap_or(agent::DEFAULT_AGENT);
    let agent = agent::newest(name).ok_or_else(|| unknown("agent", name, &[]))?;
    let model = model_of(command, agent.name, catalog, 0);
    let named = match (&command.tools, &command.embed) {
        (Some(named), _) => named.clone(),
        (None, Some(_)) => vec![],
        (None, None) => agent.tools.iter().map(|&tool| tool.to_owned()).collect(),
    };
    Ok(Chosen {
        agent,
        model,
        named,
    })
}

fn model_of(command: &StartRun, agent: &str, catalog: &Catalog, number: u64) -> String {
    let named = command.model.clone();
    named.unwrap_or_else(|| catalog.model_for(agent, number).to_owned())
}

impl Chosen {
    /// The version of each tool that the run keeps; `registered` are those that are not built in.
    ///
    /// # Errors
    /// [`DomainError::Invalid`]: one is neither.
    pub fn pins(
        &self,
        registered: &BTreeMap<String, ToolPin>,
    ) -> Result<BTreeMap<String, ToolPin>, DomainError> {
        (self.named.iter())
            .map(|text| {
                let name = ToolRef::parse(text).name;
                let pin = ToolPin::of_builtin(name).or_else(|| registered.get(name));
                let pin = pin.ok_or_else(|| unknown("tools", text, &[]))?;
                Ok((name.to_owned(), pin.clone()))
            })
            .collect()
    }
}

/// Checks what can be checked without any state.
///
/// # Errors
/// [`DomainError::Invalid`], naming the field and what would be right.
pub fn validate(
    command: &StartRun,
    catalog: &Catalog,
    limits: StartLimits,
) -> Result<(), DomainError> {
    let invalid = DomainError::invalid;
    let is_said = !command.input.trim().is_empty() || !command.context.is_empty();
    if !is_said && command.invoke.is_none() && command.embed.is_none() {
        return Err(invalid("input", "it is empty; say what the agent is to do"));
    }
    if command.input.len() > limits.input_bytes {
        let reason = format!(
            "{} bytes are more than the {} that this installation takes",
            command.input.len(),
            limits.input_bytes
        );
        return Err(DomainError::invalid("input", reason));
    }
    if command.run_id.is_some() && command.idempotency_key.is_some() {
        return Err(invalid(
            "idempotency_key",
            "give a run_id or an idempotency_key, not both",
        ));
    }
    if let Some(key) = &command.idempotency_key
        && !(1..=256).contains(&key.len())
    {
        return Err(invalid("idempotency_key", "it must have 1 to 256 bytes"));
    }
    let agent_name = command.agent.as_deref().unwrap_or(agent::DEFAULT_AGENT);
    if agent::newest(agent_name).is_none() {
        let known: Vec<_> = agent::all().iter().map(|agent| agent.name).collect();
        return Err(unknown("agent", agent_name, &known));
    }
    if let Some(model) = &command.model
        && command.embed.is_none()
        && catalog.get(model).is_none()
    {
        let known: Vec<_> = catalog.models.keys().map(String::as_str).collect();
        return Err(unknown("model", model, &known));
    }
    let named = command.tools.as_deref().unwrap_or_default();
    if named.len() > MOST_TOOLS {
        let reason = format!("{} are named, of at most {MOST_TOOLS}", named.len());
        return Err(DomainError::invalid("tools", reason));
    }
    if !registry::needs_registry(named) {
        // Versions that are named; the rest is for the registry to say.
        registry::pins(named, &registry::Tools::default())?;
    }
    invoke::check(command)?;
    embed::check(command, catalog, limits.input_bytes)?;
    given::check(command, catalog, limits.input_bytes)?;
    check_labels(&command.metadata)
}

/// Checks a caller's labels: at most 32, keys up to 64 bytes, values up to 512.
///
/// # Errors
/// [`DomainError::Invalid`].
pub(crate) fn check_labels(
    metadata: &std::collections::BTreeMap<String, String>,
) -> Result<(), DomainError> {
    let fits = |(key, value): (&String, &String)| key.len() <= 64 && value.len() <= 512;
    if metadata.len() > 32 || !metadata.iter().all(fits) {
        let reason = "at most 32 labels, keys of up to 64 bytes and values of up to 512";
        return Err(DomainError::invalid("metadata", reason));
    }
    Ok(())
}

/// Starts the run; starting it again is no event.
///
/// # Errors
/// [`DomainError::Invalid`] where agent or model are not known; see [`validate`].
pub fn start(run: &Run, new: NewRun, catalog: &Catalog) -> Result<Vec<RunEvent>, DomainError> {
    if run.status != Status::Unborn {
        return Ok(vec![]);
    }
    let chosen = choose(&new.command, catalog)?;
    let pins = chosen.pins(&new.pins)?;
    let agent = chosen.agent;
    let number = new.run_id.number();
    let model = model_of(&new.command, agent.name, catalog, number);
    let started = RunStarted {
        run_id: new.run_id,
        session: new.session,
        user: new.user,
        agent: AgentRef {
            name: agent.name.to_owned(),
            version: agent.version.to_owned(),
        },
        model,
        tools: pins.keys().cloned().collect(),
        pins,
        input: new.input,
        given: new.given,
        invoke: new.command.invoke,
        budget: new.command.budget,
        parent: new.parent,
        max_turns: agent.max_turns,
        metadata: new.command.metadata,
        trace_id: new.trace_id,
        prompt_tokens: new.prompt_tokens,
        queued: new.queued,
    };
    Ok(vec![started.into()])
}

fn unknown(field: &str, name: &str, known: &[&str]) -> DomainError {
    let name: String = name.chars().take(64).collect();
    let reason = format!("{name:?} is not known here; known: {}", known.join(", "));
    DomainError::invalid(field, reason)
}
