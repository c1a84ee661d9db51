//! The roles of the platform: one visible list, each startable alone or all together.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use nexus_budget::BudgetRole;
use nexus_bus::objects::Objects;
use nexus_bus::{Bus, Store, TopologyConfig, connect, run_batch_role, run_role, timer};
use nexus_content::Filters;
use nexus_events::catalog::Catalog;
use nexus_events::run::StartLimits;
use nexus_gateway::Gateway;
use nexus_llm::LlmRole;
use nexus_llm::provider::{Models, Settings};
use nexus_llm::route::{Router, RoutingConfig};
use nexus_policy::PolicyRole;
use nexus_projections::{
    Projections, ProjectionsOptions, Projector, ProjectorMetrics, ProjectorOptions, run_retention,
};
use nexus_run::RunRole;
use nexus_tools::ToolsRole;
use nexus_tools::builtin::files::run_sweeper;
use nexus_webhooks::WebhooksRole;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agents;
use crate::config::Config;
use crate::failure::Failure;
use crate::local_model::LocalModelHost;
use crate::monitor;
use crate::with_causes;

/// One role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Starts and controls runs and sessions; relays timers that are due.
    Run,
    /// Reserves and settles.
    Budget,
    /// Judges.
    Policy,
    /// Executes tools.
    Tools,
    /// Calls models.
    Llm,
    /// Delivers events to whoever asked for them.
    Webhooks,
    /// Folds the log into the read models.
    Projector,
    /// Serves HTTP.
    Gateway,
}

impl Role {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Run,
        Self::Budget,
        Self::Policy,
        Self::Tools,
        Self::Llm,
        Self::Webhooks,
        Self::Projector,
        Self::Gateway,
    ];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Budget => "budget",
            Self::Policy => "policy",
            Self::Tools => "tools",
            Self::Llm => "llm",
            Self::Webhooks => "webhooks",
            Self::Projector => "projector",
            Self::Gateway => "gateway",
        }
    }

    fn needs_database(self) -> bool {
        matches!(self, Self::Projector | Self::Gateway)
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|role| role.name()).collect();
                format!("there is no role {name:?}; there is {}", known.join(", "))
            })
    }
}

/// Roles that run in this process.
pub(crate) struct Running {
    tasks: JoinSet<Result<(), Failure>>,
    shutdown: CancellationToken,
    listen: Option<std::net::SocketAddr>,
    local_model: Arc<LocalModelHost>,
    /// How long stopping may take.
    patience: Duration,
}

/// How long roles may take to end what they have begun.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two attempts to reach a database that is away: at first, and at most.
const DATABASE_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// What a gateway needs beside what its configuration gives its requests.
const STOP_MARGIN: Duration = Duration::from_secs(5);

impl Running {
    /// Connects, makes sure of streams and tables, and starts the roles.
    ///
    /// # Errors
    /// [`Failure`]: a configuration that cannot work. A bus or database that is away is waited for.
    pub(crate) async fn start(roles: &[Role], config: Config) -> Result<Self, Failure> {
        let shutdown = CancellationToken::new();
        let name = format!("nexus-{}", std::process::id());
        // A start that fails takes the monitor with it.
        let starting = shutdown.clone().drop_guard();
        let watched = monitor::start(&config.monitor, shutdown.clone()).await?;
        let clock = connect::skewed_clock(config.clock_offset_ms);
        let bus = Bus::open_with_clock(config.bus(&name)?, clock).await?;
        watched.bus(&bus);
        bus.connected().await;
        let replicas = config.nats.replicas.unwrap_or(1);
        let topology = TopologyConfig {
            replicas,
            dead_letters_max_age: config.retention.dead_letters(),
            ..TopologyConfig::default()
        };
        nexus_bus::ensure(&bus, &topology).await?;
        let store = Store::new(bus.clone(), config.limits.cached_aggregates);
        let local_model = LocalModelHost::new(&config.models);
        let models = Arc::new(build_models(&config, &local_model)?);
        let mut catalog = models.catalog();
        catalog.agents = agents::models(&config.agents, &catalog)?;
        catalog.begins = agents::begins(&config.agents);
        let routing = RoutingConfig {
            routes: config.models.routes.clone(),
            breaker: config.models.breaker.clone(),
        };
        routing.check(&models)?;
        let router = Router::new(routing);
        let catalog = Arc::new(catalog);
        let projections = match roles.iter().any(|role| role.needs_database()) {
            true => Some(connect_projections(&config).await?),
            false => None,
        };
        let objects = Objects::new(bus.clone(), config.limits.object_bytes);
        let gateway = &config.gateway;
        let drain_ms = gateway
            .drain_notice_ms
            .saturating_add(gateway.drain_timeout_ms);
        let patience = STOP_TIMEOUT.max(Duration::from_millis(drain_ms) + STOP_MARGIN);
        let parts = Parts {
            bus,
            store,
            objects,
            models,
            router,
            catalog,
            projections,
            config,
        };
        let mut running = Self {
            tasks: JoinSet::new(),
            shutdown,
            listen: None,
            local_model,
            patience,
        };
        for role in roles {
            running.spawn(*role, &parts).await?;
            info!(role = role.name(), "role started");
        }
        watched.roles(roles, parts.projections.as_ref());
        starting.disarm();
        Ok(running)
    }

    /// Where the gateway listens.
    pub(crate) fn listen(&self) -> Option<std::net::SocketAddr> {
        self.listen
    }

    /// Waits until a role ends by itself, which none should.
    pub(crate) async fn ended(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Ok(Ok(()))) | None => Failure::RoleEnded("it returned".to_owned()),
            Some(Err(error)) => Failure::RoleEnded(error.to_string()),
        }
    }

    /// Stops all roles and waits for what they have begun.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.patience, finished).await.is_err() {
            tracing::warn!(
                "some work did not end in time; it is delivered again at the next start"
            );
        }
        self.local_model.stop().await;
    }

    async fn spawn(&mut self, role: Role, parts: &Parts) -> Result<(), Failure> {
        let (bus, store) = (parts.bus.clone(), parts.store.clone());
        let catalog = Arc::clone(&parts.catalog);
        let objects = parts.objects.clone();
        let stop = self.shutdown.clone();
        let tasks = &mut self.tasks;
        match role {
            Role::Run => {
                let limits = StartLimits {
                    input_bytes: parts.config.limits.input_bytes,
                };
                let handler = RunRole::new(store, objects, catalog, limits);
                let relay = timer::run_relay(bus.clone(), stop.clone());
                tasks.spawn(done(relay));
                tasks.spawn(done(run_role(bus, nexus_run::SPEC, handler, stop)));
            }
            Role::Budget => {
                let handler = BudgetRole::new(store, catalog);
                tasks.spawn(done(run_batch_role(bus, nexus_budget::SPEC, handler, stop)));
            }
            Role::Policy => {
                let handler = PolicyRole::new(store, objects, catalog);
                tasks.spawn(done(run_role(bus, nexus_policy::SPEC, handler, stop)));
            }
            Role::Tools => {
                let settings = parts.config.tools.settings()?;
                let (files, age) = (
                    settings.workspaces.clone(),
                    parts.config.retention.workspaces(),
                );
                tasks.spawn(done(run_sweeper(files, age, stop.clone())));
                let handler = ToolsRole::new(store, objects, catalog, settings);
                tasks.spawn(done(run_role(bus, nexus_tools::SPEC, handler, stop)));
            }
            Role::Llm => {
                let models = Arc::clone(&parts.models);
                let notices = self.local_model.notices();
                let filters = Filters::new(&parts.config.models.filter)?;
                let router = Arc::clone(&parts.router);
                let handler = LlmRole::new(store, objects, models, router, catalog, notices)
                    .filtered(filters)
                    .cached(agents::caches(&parts.config.agents)?);
                tasks.spawn(done(run_role(bus, nexus_llm::SPEC, handler, stop)));
            }
            Role::Webhooks => {
                let settings = parts
                    .config
                    .webhooks
                    .settings(parts.config.webhook_key()?)?;
                let handler = WebhooksRole::new(store.clone(), settings.clone());
                let deliver = nexus_webhooks::deliver(bus.clone(), store, settings, stop.clone());
                tasks.spawn(done(deliver));
                tasks.spawn(done(run_role(bus, nexus_webhooks::SPEC, handler, stop)));
            }
            Role::Projector => {
                let projections = parts.projections()?;
                let policy = parts.config.retention.policy();
                let (tables, log) = (projections.clone(), bus.clone());
                tasks.spawn(done(run_retention(tables, log, policy, stop.clone())));
                let js = bus.jetstream().clone();
                let metrics = nexus_bus::metrics::register(ProjectorMetrics::register);
                let options = ProjectorOptions::default();
                let projector = Projector::new(&projections, js, options, metrics);
                tasks.spawn(done(projector.run(stop)));
            }
            Role::Gateway => {
                let mut config = parts.config.gateway.clone();
                config.webhook_key = parts.config.webhook_key()?;
                let gateway = Gateway::bind(config).await?;
                self.listen = Some(gateway.address());
                let projections = parts.projections()?;
                tasks.spawn(async move {
                    Ok(gateway
                        .serve(bus, store, projections, catalog, stop)
                        .await?)
                });
            }
        }
        Ok(())
    }
}

/// What roles are made of.
struct Parts {
    bus: Bus,
    store: Store,
    objects: Objects,
    models: Arc<Models>,
    router: Arc<Router>,
    catalog: Arc<Catalog>,
    projections: Option<Projections>,
    config: Config,
}

impl Parts {
    fn projections(&self) -> Result<Projections, Failure> {
        self.projections
            .clone()
            .ok_or_else(|| Failure::RoleEnded("no database".to_owned()))
    }
}

async fn done(role: impl Future<Output = ()>) -> Result<(), Failure> {
    role.await;
    Ok(())
}

fn build_models(config: &Config, local: &Arc<LocalModelHost>) -> Result<Models, Failure> {
    let settings = Settings {
        providers: config.models.providers.clone(),
        default_model: config.models.default.clone(),
        local_endpoint: config
            .models
            .local
            .unwrap_or(true)
            .then(|| local.resolver()),
        ..Settings::default()
    };
    Ok(Models::build(settings, &|name| std::env::var(name).ok())?)
}

async fn connect_projections(config: &Config) -> Result<Projections, Failure> {
    let projections = Projections::open(config.database_url()?, ProjectionsOptions::default())?;
    let mut pause = DATABASE_PAUSE.0;
    loop {
        match projections.migrate().await {
            Err(error) if error.is_transient() => {
                warn!(error = %with_causes(&error), "the database is away, waiting for it");
            }
            done => {
                done?;
                return Ok(projections);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(DATABASE_PAUSE.1);
    }
}
