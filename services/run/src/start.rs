//! `run.start`.

use nexus_bus::process;
use nexus_bus::trace::TraceParent;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::StartRun;
use nexus_events::run::{self, Embed, Given, NewRun, ParentLink, Run, SessionLink};
use nexus_events::{Actor, DomainError, RunId, SessionId};
use serde_json::json;

use crate::RunRole;

impl RunRole {
    pub(crate) async fn start(
        &self,
        delivery: &Delivery,
        mut command: StartRun,
    ) -> Result<(), Failure> {
        run::validate(&command, &self.catalog, self.limits).map_err(Failure::Reject)?;
        let envelope = &delivery.envelope;
        let run_id = run_id(delivery, &command);
        // Before it joins its session, which a refused child must not block.
        let parent = match command.parent_run_id {
            Some(parent) => self.inherit(delivery, run_id, parent).await?,
            None => None,
        };
        let session = match command.session_id {
            Some(session_id) if session_id != run_id.own_session() => {
                if self.exists(delivery, run_id).await? {
                    let (bus, store) = (&self.bus, &self.store);
                    let nothing = |_: &Run| Ok(vec![]);
                    let done =
                        process::decide_run_by_id(bus, store, delivery, run_id, nothing).await?;
                    let session_id = done.session_id.unwrap_or(session_id);
                    self.accepted(delivery, run_id, session_id, done.first_seq)
                        .await;
                    return Ok(());
                }
                self.join(delivery, session_id, run_id, command.on_busy)
                    .await?
            }
            _ => SessionLink {
                id: run_id.own_session(),
                previous: None,
                budget: None,
                policy_context: None,
            },
        };
        let (pins, specs) = self.tools(delivery, run_id, &command).await?;
        let input = std::mem::take(&mut command.input);
        let prompt_tokens = self.prompt_tokens(&command, &specs, &input).await;
        let given = match command.embed.take() {
            Some(embed) => Some(self.texts(delivery, &embed).await?),
            None => self.given(delivery, &mut command).await?,
        };
        let new = NewRun {
            run_id,
            command,
            given,
            pins,
            input: self
                .objects
                .offload(&envelope.tenant, input)
                .await
                .map_err(Failure::from)?,
            session,
            parent,
            user: actor(delivery),
            trace_id: trace_id(envelope.traceparent.as_deref()),
            prompt_tokens: prompt_tokens.map_err(Failure::Reject)?,
        };
        let decide = |run: &Run| run::start(run, new.clone(), &self.catalog);
        let done = process::start_run(&self.bus, &self.store, delivery, run_id, decide).await?;
        let session_id = done.session_id.unwrap_or_else(|| run_id.own_session());
        self.accepted(delivery, run_id, session_id, done.first_seq)
            .await;
        Ok(())
    }

    /// What the command brings beside the input, taken out of it: what is long goes to the object
    /// store.
    async fn given(
        &self,
        delivery: &Delivery,
        command: &mut StartRun,
    ) -> Result<Option<Box<Given>>, Failure> {
        let tenant = &delivery.envelope.tenant;
        let store = |text: Option<String>| async {
            match text {
                Some(text) => Ok(Some(self.objects.offload(tenant, text).await?)),
                None => Ok::<_, Failure>(None),
            }
        };
        let context = store(run::context_text(command)).await?;
        let specs = store(run::specs_text(command)).await?;
        let given = Given::of(command, context, specs);
        (command.context, command.client_tools) = (vec![], vec![]);
        Ok(given)
    }

    /// The texts that become vectors: where they are long they go to the object store.
    async fn texts(&self, delivery: &Delivery, embed: &Embed) -> Result<Box<Given>, Failure> {
        let texts = run::texts_text(embed);
        let texts = (self.objects).offload(&delivery.envelope.tenant, texts);
        Ok(Given::of_texts(texts.await?, embed))
    }

    /// What the run takes over from the one that it works for. A run that was started before keeps
    /// what it took, whatever became of its parent.
    async fn inherit(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        parent: RunId,
    ) -> Result<Option<ParentLink>, Failure> {
        if parent == run_id {
            let reason = "a run is not its own parent";
            return Err(Failure::Reject(DomainError::invalid(
                "parent_run_id",
                reason,
            )));
        }
        if self.exists(delivery, run_id).await? {
            return Ok(None);
        }
        let tenant = &delivery.envelope.tenant;
        let run = process::load_latest::<Run>(&self.store, tenant, &parent.into(), 0).await?;
        if run.state.started.is_none() {
            let id = parent.to_string();
            return Err(Failure::Reject(DomainError::NotFound { what: "run", id }));
        }
        Ok(Some(run::inherit(&run.state).map_err(Failure::Reject)?))
    }

    pub(crate) async fn exists(&self, delivery: &Delivery, run_id: RunId) -> Result<bool, Failure> {
        let tenant = &delivery.envelope.tenant;
        let run = process::load_latest::<Run>(&self.store, tenant, &run_id.into(), 0).await?;
        Ok(run.state.started.is_some())
    }

    async fn accepted(&self, delivery: &Delivery, run_id: RunId, session_id: SessionId, seq: u64) {
        let outcome = json!({ "run_id": run_id, "session_id": session_id, "seq": seq });
        process::reply(&self.bus, delivery, &outcome).await;
    }
}

/// Who acts, as runs and sessions keep it. A client that reached the bus has proved to it that it
/// may; one that names nobody acts as the bus's own user.
pub(crate) fn actor(delivery: &Delivery) -> Actor {
    let mut actor = delivery.envelope.actor.clone().without_source();
    if actor.user.is_empty() {
        actor.user = "bus".to_owned();
    }
    actor
}

/// The run's id: the caller's, or what its key names, or what this command always gives.
fn run_id(delivery: &Delivery, command: &StartRun) -> RunId {
    let tenant = &delivery.envelope.tenant;
    command
        .run_id
        .unwrap_or_else(|| match &command.idempotency_key {
            Some(key) => RunId::from_idempotency_key(tenant, key),
            None => RunId::derive(&[tenant.as_str(), "command", delivery.envelope.id.as_str()]),
        })
}

fn trace_id(traceparent: Option<&str>) -> Option<String> {
    let parent: TraceParent = traceparent?.parse().ok()?;
    Some(
        parent
            .trace_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}
