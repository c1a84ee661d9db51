//! `tool.execute`: from the command to the recorded outcome. Where a call of a tool for which twice
//! is not once was started and has no outcome, it is left in doubt and never executed here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_bus::backoff::Backoff;
use nexus_bus::objects::ObjectError;
use nexus_bus::{Delivery, Failure, process, tools};
use nexus_events::catalog::Tokenizer;
use nexus_events::command::{ExecuteTool, RunRef};
use nexus_events::policy::{SecretsDuty, redact as leave_out};
use nexus_events::run::{
    self, MOST_ATTEMPTS, Run, ToolCompleted, ToolFailed, ToolOutcome, ToolPhase, ToolStep, WORKER,
};
use nexus_events::tool::{Permissions, Span, ToolDefinition, ToolLimits, ToolPin};
use nexus_events::{Actor, Body, CommandId, Due, Tenant};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::builtin::CallContext;
use crate::executor::{Call, Executor, Outcome};
use crate::validate::{self, Checked, OutputRules};
use crate::{ToolError, ToolsRole, stop};

/// After its time an executor that did not keep to it is dropped.
const GRACE: Duration = Duration::from_secs(1);
/// Every further look finds another beginning, of which there are few.
const MOST_LOOKS: u32 = 16;

/// A call that is to be executed, or that somebody began to.
struct Found {
    name: String,
    pin: ToolPin,
    arguments: Value,
    /// Fields that policy leaves out of arguments and result.
    redact: Vec<String>,
    /// What policy says of secrets in the result.
    secrets: Option<SecretsDuty>,
    /// What policy lets it touch at most.
    narrowed: Option<Permissions>,
    /// Executing it twice does what executing it once does.
    idempotent: bool,
    /// Of the models that may read the result.
    tokenizers: Vec<Tokenizer>,
    /// What the step holds of time.
    time: Option<Duration>,
    /// Under which name this delivery records that it begins.
    label: String,
    /// Which attempt that would be.
    attempt: u32,
    /// Nobody has begun.
    ready: bool,
}

/// What became of the beginning.
enum Began {
    /// The effect is this delivery's to make.
    Ours,
    /// Another delivery of the command was faster: look again.
    Theirs,
    /// There is nothing to execute.
    Nothing,
}

impl ToolsRole {
    pub(crate) async fn execute(
        &self,
        delivery: &Delivery,
        command: ExecuteTool,
    ) -> Result<(), Failure> {
        for _ in 0..MOST_LOOKS {
            let Some(found) = self.look_up(delivery, &command).await? else {
                return self.complete(delivery, command.run).await;
            };
            let (tenant, name) = (&delivery.envelope.tenant, &found.name);
            let definition = tools::definition(&self.store, tenant, name, &found.pin).await?;
            // Before it is started: who waits here has had no effect.
            let size = definition.limits.concurrency;
            let _pass = match found.ready {
                true => Some(
                    self.gates
                        .enter(tenant, name, size, delivery.delivered)
                        .await?,
                ),
                // It has waited before.
                false => None,
            };
            // A call that was begun may have taken effect, whatever its arguments are.
            if found.ready
                && let Err(error) = self.takes(&definition, &found.arguments)
            {
                let outcome = failed(&command, error.code.to_owned(), error.message, 0);
                return self.record(delivery, &command, outcome).await;
            }
            let (digest, arguments) = (&found.pin.digest, &found.arguments);
            let executors = &self.executors;
            executors
                .prepare(tenant, &definition, digest, arguments)
                .await;
            match self.begin(delivery, &command, &found.label).await? {
                Began::Theirs => {}
                Began::Nothing => return Ok(()),
                Began::Ours => return self.make(delivery, command, found, definition).await,
            }
        }
        Err(Failure::retry("others are at this call"))
    }

    /// The call; none when there is nothing to execute (any more).
    async fn look_up(
        &self,
        delivery: &Delivery,
        command: &ExecuteTool,
    ) -> Result<Option<Found>, Failure> {
        let run = process::load_run(&self.store, delivery, &command.run).await?;
        let step = run.state.tool_step(command.turn, &command.call_id);
        let Some((step, info)) = step.zip(run.state.info()) else {
            return Ok(None);
        };
        if step.round != command.round || run.state.status.is_terminal() {
            return Ok(None);
        }
        let pin = run.state.pin(&step.call.name).cloned();
        let pin = pin.ok_or_else(|| {
            Failure::retry(format!(
                "tool {} is not known to this worker",
                step.call.name
            ))
        })?;
        let Some(label) = label(step, &pin) else {
            return Ok(None);
        };
        let redact = step.duties.redact.clone();
        let mut arguments = step.call.arguments.clone();
        leave_out(&mut arguments, &redact);
        let held = step.grant.as_ref().map(|grant| grant.amounts.time_ms);
        Ok(Some(Found {
            name: step.call.name.clone(),
            idempotent: pin.twice_is_once(&step.call.name, &step.call.arguments),
            arguments,
            redact,
            secrets: step.duties.secrets,
            narrowed: step.duties.permissions.clone(),
            tokenizers: self.catalog.tokenizers(&info.agent.name, &info.model),
            time: held.filter(|held| *held > 0).map(Duration::from_millis),
            label,
            attempt: step.attempts + 1,
            ready: matches!(step.phase, ToolPhase::Ready { .. }),
            pin,
        }))
    }

    /// Records that the effect is about to be made.
    async fn begin(
        &self,
        delivery: &Delivery,
        command: &ExecuteTool,
        label: &str,
    ) -> Result<Began, Failure> {
        let now = self.bus.now();
        let mut starts = false;
        let start = |run: &Run| {
            let events = run::start_tool(run, command.turn, &command.call_id, now);
            // Or it lapsed and asks the ledger again, is in doubt, or is given up.
            starts = matches!(events[..], [run::RunEvent::ToolStarted(_)]);
            Ok(events)
        };
        let (bus, store) = (&self.bus, &self.store);
        let done = process::decide_run(bus, store, delivery, command.run, label, start).await?;
        Ok(match (done.fresh, done.nothing_recorded) {
            (true, _) if starts => Began::Ours,
            (false, false) => Began::Theirs,
            _ => Began::Nothing,
        })
    }

    /// Makes the effect and records its outcome.
    async fn make(
        &self,
        delivery: &Delivery,
        command: ExecuteTool,
        found: Found,
        definition: Arc<ToolDefinition>,
    ) -> Result<(), Failure> {
        let tenant = &delivery.envelope.tenant;
        let key = run::idempotency_key(command.run.run_id, command.turn, &command.call_id);
        let longest = definition.limits.timeout.duration();
        let time = found.time.unwrap_or(longest).min(longest);
        let context = self.context(tenant, &command, &key, &found, &definition, time);
        let call = Call {
            tenant,
            run_id: command.run.run_id,
            turn: command.turn,
            call_id: &command.call_id,
            attempt: found.attempt,
            idempotency_key: &key,
            definition: &definition,
            digest: &found.pin.digest,
            idempotent: found.idempotent,
            context: &context,
            arguments: &found.arguments,
            time,
            traceparent: delivery.envelope.traceparent.as_deref(),
        };
        let began = Instant::now();
        let outcome = tokio::select! {
            outcome = self.in_time(&call) => outcome,
            () = stop::when_run_ends(&self.bus, &self.store, tenant, command.run) => {
                self.executors.cancelled(&call).await;
                return Ok(());
            }
        };
        let duration_ms = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        match outcome {
            Outcome::Unknown(message) => self.doubt(delivery, &command, &message).await,
            Outcome::Done(output) => {
                let done = self.given(delivery, &found, &definition, output).await?;
                let outcome = match done {
                    Ok((output, tokens)) => ToolOutcome::Completed(ToolCompleted {
                        turn: command.turn,
                        call_id: command.call_id.clone(),
                        output,
                        duration_ms,
                        tokens,
                        reused: None,
                    }),
                    Err(error) => {
                        failed(&command, error.code.to_owned(), error.message, duration_ms)
                    }
                };
                self.record(delivery, &command, outcome).await
            }
            Outcome::Failed { code, message } => {
                let outcome = failed(&command, code, message, duration_ms);
                self.record(delivery, &command, outcome).await
            }
        }
    }

    async fn in_time(&self, call: &Call<'_>) -> Outcome {
        let late = call.time.saturating_add(GRACE);
        match timeout(late, self.executors.call(call)).await {
            Ok(outcome) => outcome,
            Err(_) if call.idempotent => Outcome::failed("timeout", "it took longer than it may"),
            Err(_) => Outcome::Unknown("it took longer than it may and was broken off".to_owned()),
        }
    }

    /// What a tool gave, as it is recorded; or why it is too much.
    async fn given(
        &self,
        delivery: &Delivery,
        found: &Found,
        definition: &ToolDefinition,
        mut output: Value,
    ) -> Result<Result<(Body, Option<u64>), ToolError>, Failure> {
        leave_out(&mut output, &found.redact);
        let checked = match self.gives(definition, found.secrets, output) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error)),
        };
        if !checked.redacted.is_empty() || checked.marked {
            let (kinds, marked) = (checked.redacted.join(", "), checked.marked);
            tracing::info!(
                tool = definition.name,
                kinds,
                marked,
                "a result was changed"
            );
        }
        let output = checked.output.to_string();
        let tokens = nexus_tokens::most(&found.tokenizers, &[&output]).await;
        let tenant = &delivery.envelope.tenant;
        insist(delivery, || async {
            match self.objects.offload(tenant, output.clone()).await {
                Ok(body) => Ok(Ok((body, tokens))),
                Err(error @ ObjectError::TooLarge { .. }) => Ok(Err(ToolError {
                    code: "bad_output",
                    message: error.to_string(),
                })),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Whether the tool takes these arguments.
    fn takes(&self, definition: &ToolDefinition, arguments: &Value) -> Result<(), ToolError> {
        let schema = self.schemas.get(&definition.input_schema);
        let schema = schema.map_err(|error| ToolError::failed(error.to_string()))?;
        validate::input(&schema, arguments)
    }

    /// What may be recorded of what the tool gave.
    fn gives(
        &self,
        definition: &ToolDefinition,
        secrets: Option<SecretsDuty>,
        output: Value,
    ) -> Result<Checked, ToolError> {
        let schema = definition.output_schema.as_ref();
        let schema = schema.map(|schema| self.schemas.get(schema)).transpose();
        let schema = schema.map_err(|error| ToolError::failed(error.to_string()))?;
        let rules = OutputRules {
            max_bytes: definition.limits.max_output_bytes,
            secrets: self.settings.secrets.at_least(secrets),
            emails: self.settings.emails,
        };
        validate::output(schema.as_ref(), rules, output)
    }

    fn context(
        &self,
        tenant: &Tenant,
        command: &ExecuteTool,
        idempotency_key: &str,
        found: &Found,
        definition: &ToolDefinition,
        time: Duration,
    ) -> CallContext {
        let run_id = command.run.run_id;
        let permissions = self.settings.permissions_of(definition);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        CallContext {
            tenant: tenant.clone(),
            run_id,
            call_id: command.call_id.clone(),
            idempotency_key: idempotency_key.to_owned(),
            permissions: match &found.narrowed {
                Some(narrowed) => permissions.narrow(narrowed),
                None => permissions,
            },
            limits: ToolLimits {
                timeout: Span::from_millis(millis),
                ..definition.limits
            },
            workspace: self.settings.workspaces.of(tenant, run_id),
        }
    }

    async fn record(
        &self,
        delivery: &Delivery,
        command: &ExecuteTool,
        outcome: ToolOutcome,
    ) -> Result<(), Failure> {
        let (bus, store) = (&self.bus, &self.store);
        let word = insist(delivery, || async {
            let mut word = None;
            let record = |run: &Run| {
                word = run::alive_after_all(run, &outcome);
                Ok(run::record_tool(run, outcome.clone()))
            };
            process::decide_run(bus, store, delivery, command.run, "outcome", record).await?;
            Ok(word)
        });
        let Some(word) = word.await? else {
            return Ok(());
        };
        let worker = Actor {
            user: WORKER.to_owned(),
            ..Actor::default()
        };
        let due = Due {
            id: CommandId::derive(delivery.envelope.id.as_str(), "alive"),
            command: word.into(),
            actor: Some(worker),
            at: None,
        };
        process::publish_due(bus, delivery, vec![due]).await?;
        // Whoever left it in doubt by this command may have died before it published what that made
        // due, and nobody comes back for it once this delivery is acknowledged.
        process::complete(bus, store, delivery, command.run, "doubt").await
    }

    async fn doubt(
        &self,
        delivery: &Delivery,
        command: &ExecuteTool,
        message: &str,
    ) -> Result<(), Failure> {
        let now = self.bus.now();
        let (turn, call_id) = (command.turn, &command.call_id);
        let doubt = |run: &Run| Ok(run::leave_in_doubt(run, turn, call_id, message, now));
        let (bus, store) = (&self.bus, &self.store);
        process::decide_run(bus, store, delivery, command.run, "doubt", doubt).await?;
        Ok(())
    }

    /// What an earlier delivery recorded may have made something due that it did not publish: that
    /// what was held had lapsed, the doubt, or the outcome.
    async fn complete(&self, delivery: &Delivery, run: RunRef) -> Result<(), Failure> {
        for label in ["start", "doubt", "outcome"] {
            process::complete(&self.bus, &self.store, delivery, run, label).await?;
        }
        Ok(())
    }
}

/// Tries again while the bus is away: the effect has been made, and if this delivery let go nobody
/// would know what came of it.
async fn insist<T, F>(delivery: &Delivery, work: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    for round in 0.. {
        match work().await {
            Err(Failure::Unavailable(_)) if !delivery.stopping.is_cancelled() => {
                sleep(Backoff::COMMAND.delay(round)).await;
            }
            done => return done,
        }
    }
    Err(Failure::retry("the bus is away"))
}

fn failed(command: &ExecuteTool, code: String, message: String, duration_ms: u64) -> ToolOutcome {
    ToolOutcome::Failed(ToolFailed {
        turn: command.turn,
        call_id: command.call_id.clone(),
        code,
        message,
        duration_ms,
    })
}

/// Under which name this delivery records that it begins, so that each beginning is recorded once
/// however many deliveries there are; none where there is nothing to begin.
fn label(step: &ToolStep, pin: &ToolPin) -> Option<String> {
    match step.phase {
        ToolPhase::Ready { .. } => Some("start".to_owned()),
        ToolPhase::Started { .. } if !pin.twice_is_once(&step.call.name, &step.call.arguments) => {
            Some("doubt".to_owned())
        }
        ToolPhase::Started { attempts, .. } if attempts >= MOST_ATTEMPTS => {
            Some("outcome".to_owned())
        }
        ToolPhase::Started { attempts, .. } => Some(format!("start/{attempts}")),
        ToolPhase::Judge
        | ToolPhase::Approve
        | ToolPhase::Reserve { .. }
        | ToolPhase::InDoubt
        | ToolPhase::Done(_) => None,
    }
}
