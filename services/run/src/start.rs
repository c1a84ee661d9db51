//! `run.start`.

use nexus_bus::process;
use nexus_bus::trace::TraceParent;
use nexus_bus::{Delivery, Failure};
use nexus_events::command::StartRun;
use nexus_events::ledger::Scope;
use nexus_events::run::{self, Embed, Given, NewRun, ParentLink, Run};
use nexus_events::{Actor, DomainError, RunId, SessionId};
use serde_json::json;

use crate::RunRole;
use crate::session::Joined;

impl RunRole {
    pub(crate) async fn start(
        &self,
        delivery: &Delivery,
        command: StartRun,
    ) -> Result<(), Failure> {
        let (run_id, joins) = (run_id(delivery, &command), command.session_id);
        let outcome = self.take_up(delivery, run_id, command).await;
        if let Err(Failure::Reject(why)) = &outcome {
            if let Some(session_id) = joins {
                // An earlier attempt may have found nothing to refuse: its parent had not ended then.
                self.give_up_place(delivery, session_id, run_id).await?;
            }
            self.refuse(delivery, run_id, why).await?;
        }
        outcome
    }

    async fn take_up(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        mut command: StartRun,
    ) -> Result<(), Failure> {
        run::validate(&command, &self.catalog, self.limits).map_err(Failure::Reject)?;
        let envelope = &delivery.envelope;
        // Before it joins its session, which a refused child must not block.
        let parent = match command.parent_run_id {
            Some(parent) => self.inherit(delivery, run_id, parent).await?,
            None => None,
        };
        let joins = (command.session_id).filter(|session_id| *session_id != run_id.own_session());
        if let Some(session_id) = joins
            && self.exists(delivery, run_id).await?
        {
            return self.started_before(delivery, run_id, session_id).await;
        }
        let (pins, specs) = self.tools(delivery, run_id, &command).await?;
        let input = std::mem::take(&mut command.input);
        let prompt_tokens = self.prompt_tokens(&command, &specs, &input).await;
        let prompt_tokens = prompt_tokens.map_err(Failure::Reject)?;
        let given = match command.embed.take() {
            Some(embed) => Some(self.texts(delivery, &embed).await?),
            None => self.given(delivery, &mut command).await?,
        };
        let input = self.objects.offload(&envelope.tenant, input).await;
        let input = input.map_err(Failure::from)?;
        // Last of all: a run that joined and is refused then would be in the way of others.
        let on_busy = command.on_busy;
        let joined = match joins {
            Some(session_id) => {
                let within = parent.as_ref().is_some_and(|parent| {
                    // It would wait for a run that may wait for it.
                    parent.scopes.contains(&Scope::Session(session_id))
                });
                self.join(delivery, (session_id, run_id), on_busy, !within)
                    .await?
            }
            None => Joined::alone(run_id),
        };
        let waits_in = joined.queued.map(|_| joined.link.id);
        let new = NewRun {
            run_id,
            command,
            given,
            pins,
            input,
            session: joined.link,
            queued: joined.queued,
            parent,
            user: actor(delivery),
            trace_id: trace_id(envelope.traceparent.as_deref()),
            prompt_tokens,
        };
        let decide = |run: &Run| run::start(run, new.clone(), &self.catalog);
        let done = process::start_run(&self.bus, &self.store, delivery, run_id, decide).await?;
        let session_id = done.session_id.unwrap_or_else(|| run_id.own_session());
        let waits = match waits_in {
            Some(session_id) => self.wait_in_line(delivery, session_id, run_id).await?,
            None => false,
        };
        self.accepted(delivery, (run_id, session_id), done.first_seq, waits)
            .await;
        Ok(())
    }

    /// For a run that has been started: what that made due may still have to be done.
    async fn started_before(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        session_id: SessionId,
    ) -> Result<(), Failure> {
        let (bus, store) = (&self.bus, &self.store);
        let nothing = |_: &Run| Ok(vec![]);
        let done = process::decide_run_by_id(bus, store, delivery, run_id, nothing).await?;
        let session_id = done.session_id.unwrap_or(session_id);
        let waits = match self.has_waited(delivery, run_id, done.first_seq).await? {
            true => self.wait_in_line(delivery, session_id, run_id).await?,
            false => false,
        };
        self.accepted(delivery, (run_id, session_id), done.first_seq, waits)
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

    /// Whether it was not its turn in its session when it was started.
    async fn has_waited(
        &self,
        delivery: &Delivery,
        run_id: RunId,
        first_seq: u64,
    ) -> Result<bool, Failure> {
        let found = self.find(delivery, run_id, first_seq).await?.run;
        Ok(found.info().is_some_and(|info| info.queued.is_some()))
    }

    pub(crate) async fn exists(&self, delivery: &Delivery, run_id: RunId) -> Result<bool, Failure> {
        let tenant = &delivery.envelope.tenant;
        let run = process::load_latest::<Run>(&self.store, tenant, &run_id.into(), 0).await?;
        Ok(run.state.started.is_some())
    }

    async fn accepted(
        &self,
        delivery: &Delivery,
        (run_id, session_id): (RunId, SessionId),
        seq: u64,
        waits: bool,
    ) {
        let mut outcome = json!({ "run_id": run_id, "session_id": session_id, "seq": seq });
        if waits {
            outcome["status"] = "queued".into();
        }
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

pub(crate) fn trace_id(traceparent: Option<&str>) -> Option<String> {
    let parent: TraceParent = traceparent?.parse().ok()?;
    Some(
        parent
            .trace_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}
