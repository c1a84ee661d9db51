//! The llm role: calls models for runs. One command, one call, one outcome on the run's log; what
//! the call may spend was reserved before, and what it spent is settled after, whatever happened.

pub mod cache;
pub mod provider;
pub mod route;

mod attempt;
mod attempts;
mod context;
mod embed;
mod filter;
mod given;
mod history;
mod live;
mod outcome;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::objects::Objects;
use nexus_bus::shelf::Shelf;
use nexus_bus::{Bus, Store, process, tools};
use nexus_bus::{Delivery, Failure, Handler, RoleSpec};
use nexus_content::{Filters, Rules};
use nexus_events::catalog::{Catalog, ModelInfo};
use nexus_events::command::{CallModel, RunRef};
use nexus_events::model::ToolSpec;
use nexus_events::policy::redact;
use nexus_events::run::{
    self, FailedCall, LlmAborted, ModelOutcome, ReservationGranted, Run, Step,
};
use nexus_events::tool::ToolPin;
use nexus_events::{Body, Command, Tenant};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use attempts::{Called, Plan};
use cache::{Answers, Caches, Fresh};
use context::Task;
use embed::Texts;
use history::{History, Said};
use live::LiveStream;
use outcome::About;
use provider::{ChatRequest, Delta, Models};
use route::Router;

/// What the role takes, and how. Calls wait for providers most of the time, and an open stream holds
/// some tens of kilobytes, so that many go on at once; a provider's own limits are its route's.
pub const SPEC: RoleSpec = RoleSpec {
    concurrency: 2_048,
    prefetch: 0,
    ..RoleSpec::new("llm", &["llm"])
};

/// The llm role.
pub struct LlmRole {
    bus: Bus,
    store: Store,
    objects: Objects,
    models: Arc<Models>,
    router: Arc<Router>,
    catalog: Arc<Catalog>,
    notices: watch::Receiver<String>,
    filters: Filters,
    caches: Caches,
    answers: Answers,
}

/// A turn that is to be called: what the run's state said when the command came.
struct Turn {
    said: Said,
    /// Bound on the tokens of its prompt.
    context_tokens: u64,
    model: String,
    agent: String,
    tools: Vec<(String, ToolPin)>,
    /// What the model is told of tools that the caller executes.
    client_tools: Option<Body>,
    /// How it is to answer; nothing else of it is set.
    sampling: ChatRequest,
    grant: ReservationGranted,
    number: u32,
    round: u32,
    /// Calls of the turn that failed before.
    failed: Vec<FailedCall>,
    /// The model that the run may be moved to.
    next_model: Option<String>,
    /// Fields that policy leaves out of what the model writes to tools.
    redact: Vec<String>,
    /// What the content filter does.
    rules: Rules,
}

enum Found {
    /// Nothing is to be done (any more).
    Nothing,
    /// The run has ended, and its reservation is still held.
    Ended(LlmAborted),
    /// What was reserved has expired.
    Lapsed,
    /// The model is to be called.
    Call(Box<Turn>),
    /// It is to make vectors.
    Embed(Box<Texts>),
}

impl LlmRole {
    /// The role over a bus, with the providers that it may call. `notices` say what is being done to
    /// get the local model ready; whoever waits for a call hears them.
    pub fn new(
        store: Store,
        objects: Objects,
        models: Arc<Models>,
        router: Arc<Router>,
        catalog: Arc<Catalog>,
        notices: watch::Receiver<String>,
    ) -> Self {
        Self {
            bus: store.bus().clone(),
            answers: Answers::new(Shelf::new(store.bus().clone())),
            caches: Caches::default(),
            store,
            objects,
            models,
            router,
            catalog,
            notices,
            filters: Filters::default(),
        }
    }

    /// The role with these filters; without any, nothing is looked for.
    #[must_use]
    pub fn filtered(mut self, filters: Filters) -> Self {
        self.filters = filters;
        self
    }

    /// The role with these caches; without any, every call asks a model.
    #[must_use]
    pub fn cached(mut self, caches: Caches) -> Self {
        self.caches = caches;
        self
    }

    async fn call(&self, delivery: &Delivery, command: CallModel) -> Result<(), Failure> {
        let CallModel {
            run: reference,
            turn,
            round,
        } = command;
        let (outcome, fresh) = match self.find(delivery, &reference, turn, round).await? {
            Found::Nothing => {
                return process::complete(&self.bus, &self.store, delivery, reference, "").await;
            }
            Found::Lapsed => {
                let lapse = |run: &Run| Ok(run::record_lapse(run, turn));
                process::decide_run(&self.bus, &self.store, delivery, reference, "", lapse).await?;
                return Ok(());
            }
            Found::Ended(nothing) => (ModelOutcome::Aborted(nothing), None),
            Found::Call(turn) => self.answer(delivery, reference, *turn).await?,
            Found::Embed(texts) => (self.embed(delivery, reference, *texts).await?, None),
        };
        let now = self.bus.now();
        let record = |run: &Run| Ok(run::record_model(run, outcome.clone(), now));
        process::decide_run(&self.bus, &self.store, delivery, reference, "", record).await?;
        // Only what is on the log is given again.
        if let Some(fresh) = fresh {
            self.answers.keep(fresh);
        }
        Ok(())
    }

    async fn find(
        &self,
        delivery: &Delivery,
        reference: &RunRef,
        turn: u32,
        round: u32,
    ) -> Result<Found, Failure> {
        let run = process::load_run(&self.store, delivery, reference).await?;
        let state = &run.state;
        let (Some(info), Some(grant)) = (state.info(), &state.grant) else {
            return Ok(Found::Nothing);
        };
        if grant.turn != turn || state.round != round {
            return Ok(Found::Nothing);
        }
        if state.status.is_terminal() {
            let nothing = LlmAborted {
                turn,
                usage: Default::default(),
                cost_usd_micros: 0,
                duration_ms: 0,
            };
            return Ok(Found::Ended(nothing));
        }
        if !matches!(state.step, Step::Call { .. }) {
            return Ok(Found::Nothing);
        }
        if !grant.covers_call_at(self.bus.now()) {
            return Ok(Found::Lapsed);
        }
        let tenant = &delivery.envelope.tenant;
        let duties = [&state.duties, &state.turn_duties];
        let rules = filter::rules(&self.filters, tenant, duties);
        if state.embeds() {
            let texts = Texts::of(state, grant, rules).map(Box::new);
            return Ok(texts.map_or(Found::Nothing, Found::Embed));
        }
        Ok(Found::Call(Box::new(Turn {
            said: Said::of(state),
            context_tokens: state.context_tokens(),
            model: state.model.clone(),
            agent: info.agent.name.clone(),
            tools: (info.tools.iter())
                .filter_map(|name| Some((name.clone(), state.pin(name)?.clone())))
                .collect(),
            client_tools: (state.given()).and_then(|given| given.client_tool_specs.clone()),
            sampling: given::sampling(state.given(), turn),
            grant: grant.clone(),
            number: turn,
            round,
            failed: state.failed_calls.clone(),
            next_model: run::next_model(state, &self.catalog),
            redact: duties
                .into_iter()
                .flat_map(|duties| duties.redact.iter().cloned())
                .collect(),
            rules,
        })))
    }

    /// Calls the model and says how it went.
    async fn answer(
        &self,
        delivery: &Delivery,
        reference: RunRef,
        turn: Turn,
    ) -> Result<(ModelOutcome, Option<Fresh>), Failure> {
        let tenant = &delivery.envelope.tenant;
        let endpoints = self
            .models
            .endpoints(&turn.model)
            .map_err(|error| Failure::Retry {
                after: None,
                reason: error.to_string(),
            })?;
        let mut tools = self.specs(tenant, &turn.tools).await?;
        tools.extend(given::specs(&self.objects, tenant, turn.client_tools).await?);
        let model = self.catalog.get(&turn.model);
        let room = context::Room {
            tokens: model.map_or(0, ModelInfo::prompt_tokens),
            context: model.map_or(0, |model| model.context_tokens),
            output: turn.grant.max_output_tokens,
        };
        let (store, objects) = (&self.store, &self.objects);
        let history = History::read(store, objects, tenant, turn.said, room.tokens).await?;
        let tokenizers = self.catalog.tokenizers(&turn.agent, &turn.model);
        let surely_fits = turn.context_tokens <= room.tokens;
        let task = context::task(history, &tools, room, &tokenizers, surely_fits).await;
        let (mut messages, most_output, older) = match task {
            Task::Answer {
                messages,
                most_output,
            } => (messages, most_output, None),
            Task::Summarise(mut older) => {
                let messages = std::mem::take(&mut older.messages);
                (messages, older.max_tokens, Some(older))
            }
        };
        let (mut found, grown) = match filter::input(&turn.rules.input, &mut messages) {
            (found, Ok(grown)) => (found, u64::try_from(grown).unwrap_or(u64::MAX)),
            (found, Err(refused)) => {
                return Ok((filter::not_called(&turn.grant, &refused, found), None));
            }
        };
        // What the prompt is longer by is not reserved: the answer may be so much shorter.
        let mut grant = turn.grant;
        grant.max_output_tokens =
            (grant.max_output_tokens.saturating_sub(grown)).clamp(1, grant.amounts.tokens.max(1));
        grant.max_output_tokens = grant.max_output_tokens.min(most_output);
        let mut sampling = turn.sampling;
        if older.is_some() {
            (sampling, tools) = (ChatRequest::default(), vec![]);
        }
        let input_bound = (grant.amounts.tokens).saturating_sub(grant.max_output_tokens);
        let mut request = ChatRequest {
            messages,
            tools,
            max_tokens: u32::try_from(grant.max_output_tokens).unwrap_or(u32::MAX),
            input_bound: Some(input_bound),
            ..sampling
        };
        let began = Instant::now();
        let deadline = began + Duration::from_millis(grant.amounts.time_ms);
        let (run_id, secret) = (reference.run_id, !turn.redact.is_empty());
        let mut live = LiveStream::new(self.bus.clone(), tenant, run_id, turn.number, secret);
        if older.is_some() {
            live = live.about("what was said first is being summarised");
        }
        let after = (&turn.rules, turn.redact.as_slice());
        let served: Vec<_> = endpoints.iter().map(|endpoint| &endpoint.model).collect();
        let caches = older.is_none().then_some(&self.caches);
        let question = caches
            .and_then(|caches| caches.question(&turn.agent, tenant, &served, &mut request, after));
        if let Some(question) = &question
            && let Some(mut done) = (self.answers).find(question, &grant, self.bus.now()).await
        {
            live.delta(Delta::Text(done.text.inline().unwrap_or_default()));
            live.drain().await;
            found.append(&mut done.findings);
            done.findings = found;
            return Ok((ModelOutcome::Completed(done), None));
        }
        let stop = CancellationToken::new();
        let live = live.filtered(&turn.rules.output, &stop);
        if delivery.delivered > 1 {
            live.restart("redelivered");
        }
        let place = u64::from(turn.number) << 32 | u64::from(turn.round);
        let plan = Plan {
            router: &self.router,
            model: &turn.model,
            endpoints,
            grant: &grant,
            number: attempts::mix(run_id.number() ^ place),
            failed: &turn.failed,
            has_next: turn.next_model.is_some(),
        };
        let mut called = tokio::select! {
            called = attempts::call(&plan, request, deadline, &stop, &live) => called,
            never = stop::when_run_ends(&self.bus, &self.store, tenant, reference, &stop) => match never {},
            never = live.forward() => match never {},
            never = live.pass_on(self.notices.clone()) => match never {},
        };
        if let Ok((done, _)) = &mut called.result {
            for call in &mut done.tool_calls {
                redact(&mut call.arguments, &turn.redact);
            }
        }
        let refused = filter::answer(&turn.rules.output, &live, &mut called, &mut found);
        live.drain().await;
        let about = About {
            grant: &grant,
            model: &turn.model,
            endpoints,
            next_model: turn.next_model.clone(),
            took: began.elapsed(),
            delivered: delivery.delivered,
        };
        let mut outcome = self.outcome(tenant, about, called).await?;
        filter::note(&turn.rules.output, &mut outcome, refused, found);
        let fresh = cache::fresh(question, &outcome, self.bus.now());
        let outcome = match older {
            Some(older) => context::summarised(older, outcome, &tokenizers).await,
            None => outcome,
        };
        Ok((outcome, fresh))
    }

    /// What the model is told of the run's tools.
    async fn specs(
        &self,
        tenant: &Tenant,
        tools: &[(String, ToolPin)],
    ) -> Result<Vec<ToolSpec>, Failure> {
        let mut specs = Vec::with_capacity(tools.len());
        for (name, pin) in tools {
            let definition = tools::definition(&self.store, tenant, name, pin).await?;
            specs.push(definition.spec());
        }
        Ok(specs)
    }

    async fn outcome(
        &self,
        tenant: &Tenant,
        about: About<'_>,
        called: Called,
    ) -> Result<ModelOutcome, Failure> {
        let text = match &called.result {
            Ok((done, _)) => Some(self.objects.offload(tenant, done.text.clone()).await?),
            Err(_) => None,
        };
        Ok(outcome::of(about, called, text))
    }
}

impl Handler for LlmRole {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        match delivery.command.clone() {
            Command::CallModel(call) => self.call(&delivery, call).await,
            other => Err(Failure::Dead {
                reason: format!("{} is not a command of the llm role", other.type_name()),
            }),
        }
    }
}
