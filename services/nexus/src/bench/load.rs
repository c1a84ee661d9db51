//! Runs, started one at a time or by many at once. The loop is closed: each starter waits for its
//! run's end before the next, so that as many are in flight as there are starters and no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexus_bus::{Bus, CommandMeta, publish_command, read, topology};
use nexus_events::command::StartRun;
use nexus_events::{Actor, AggregateKind, Command, CommandId, RunId, SessionId, Tenant, subject};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::error::BenchError;
use super::observe::{Ended, Observer};
use crate::cli::{Connection, Gateway, Request};

const RUN_LIMIT: Duration = Duration::from_secs(60);
const INPUT: &str = "Say something.";

/// How runs are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Via {
    /// Commands published on the bus.
    Bus,
    /// Requests to the gateway.
    Http,
}

/// Starts runs.
#[derive(Clone)]
pub(crate) struct Load(Arc<Parts>);

struct Parts {
    bus: Bus,
    observer: Observer,
    tenants: Vec<Tenant>,
    /// One for each tenant, where runs are started over HTTP.
    gateways: Vec<Gateway>,
}

/// A run, from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was asked for.
    pub(crate) began: Instant,
    /// What became of it.
    pub(crate) ended: Ended,
}

/// What is asked of a run, where it is not the usual.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Its model.
    pub(crate) model: Option<&'a str>,
    /// The conversation that it goes on with.
    pub(crate) session: Option<SessionId>,
}

impl Sample {
    /// From the asking to the end.
    pub(crate) fn took(&self) -> Duration {
        self.ended.at.saturating_duration_since(self.began)
    }
}

impl Load {
    /// Prepares to start runs of these tenants.
    ///
    /// # Errors
    /// The gateway's address cannot be used.
    pub(crate) fn new(
        bus: Bus,
        observer: Observer,
        tenants: Vec<Tenant>,
        via: Via,
        url: &str,
    ) -> Result<Self, BenchError> {
        let gateway = |tenant: &Tenant| {
            Gateway::new(&Connection {
                url: Some(url.to_owned()),
                tenant: Some(tenant.to_string()),
                ..Connection::default()
            })
        };
        let gateways = match via {
            Via::Bus => vec![],
            Via::Http => tenants.iter().map(gateway).collect::<Result<_, _>>()?,
        };
        Ok(Self(Arc::new(Parts {
            bus,
            observer,
            tenants,
            gateways,
        })))
    }

    /// Starts a run and waits for its end; `turn` chooses the tenant.
    ///
    /// # Errors
    /// [`BenchError`]: it was not accepted, or did not end in a minute.
    pub(crate) async fn one(&self, turn: usize) -> Result<Sample, BenchError> {
        self.ask(turn, Asked::default()).await
    }

    /// The same with this model instead of the default one.
    ///
    /// # Errors
    /// [`BenchError`]: it was not accepted, or did not end in a minute.
    pub(crate) async fn one_of(
        &self,
        turn: usize,
        model: Option<&str>,
    ) -> Result<Sample, BenchError> {
        let session = None;
        self.ask(turn, Asked { model, session }).await
    }

    /// Starts a run as it is asked for, and waits for its end.
    ///
    /// # Errors
    /// [`BenchError`]: it was not accepted, or did not end in a minute.
    pub(crate) async fn ask(&self, turn: usize, asked: Asked<'_>) -> Result<Sample, BenchError> {
        let run = RunId::new(Uuid::now_v7());
        let ended = self.0.observer.expect(run);
        let began = Instant::now();
        if let Err(error) = self.start(run, turn, asked).await {
            self.0.observer.forget(run);
            return Err(error);
        }
        match tokio::time::timeout(RUN_LIMIT, ended).await {
            Ok(Ok(ended)) => Ok(Sample { began, ended }),
            _ => {
                self.0.observer.forget(run);
                let last = self.last_of(run, turn).await;
                Err(BenchError::Bus(format!(
                    "run {run} did not end within {RUN_LIMIT:?}: {last}"
                )))
            }
        }
    }

    /// What a run recorded last, for whoever wonders why it does not end.
    async fn last_of(&self, run: RunId, turn: usize) -> String {
        let slot = turn % self.0.tenants.len().max(1);
        let Some(tenant) = self.0.tenants.get(slot) else {
            return "it has no tenant".to_owned();
        };
        let subject = subject::events(tenant, AggregateKind::Run, &run.into());
        match read::last(&self.0.bus, topology::EVENTS, &subject).await {
            Ok(None) => "it was refused, or nobody took it up".to_owned(),
            Ok(Some(last)) => {
                let body = String::from_utf8_lossy(&last.body);
                body.chars().take(2000).collect()
            }
            Err(error) => error.to_string(),
        }
    }

    async fn start(&self, run: RunId, turn: usize, asked: Asked<'_>) -> Result<(), BenchError> {
        let command = StartRun {
            input: INPUT.to_owned(),
            run_id: Some(run),
            model: asked.model.map(str::to_owned),
            session_id: asked.session,
            tools: Some(vec![]),
            ..StartRun::default()
        };
        let slot = turn % self.0.tenants.len().max(1);
        if let Some(gateway) = self.0.gateways.get(slot) {
            gateway
                .post::<Value>(Request::at(&["v1", "runs"]), &command)
                .await?;
            return Ok(());
        }
        let Some(tenant) = self.0.tenants.get(slot) else {
            return Ok(());
        };
        let mut meta = CommandMeta::new(CommandId::random(run.uuid()), "nexus/bench");
        meta.correlation = Some(run);
        meta.actor = Some(Actor {
            user: "bench".to_owned(),
            roles: vec![],
            ..Actor::default()
        });
        let command = Command::from(command);
        let published = publish_command(&self.0.bus, tenant, &command, &meta).await;
        published
            .map(drop)
            .map_err(|error| BenchError::Bus(error.to_string()))
    }

    /// Keeps `starters` starting runs until told to stop; gives every run that they started.
    ///
    /// # Errors
    /// The first [`BenchError`].
    pub(crate) async fn many(
        &self,
        starters: usize,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<Sample>, BenchError> {
        self.some(starters, usize::MAX, stop).await
    }

    /// The same with no more than about `runs` of them.
    ///
    /// # Errors
    /// The first [`BenchError`].
    pub(crate) async fn some(
        &self,
        starters: usize,
        runs: usize,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<Sample>, BenchError> {
        let each = runs.div_ceil(starters.max(1));
        let starter = |index: usize| {
            let (load, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move {
                let mut samples = Vec::new();
                while samples.len() < each && !*stop.borrow() {
                    samples.push(load.one(index + samples.len()).await?);
                }
                Ok::<_, BenchError>(samples)
            })
        };
        let mut all = Vec::new();
        for joined in join_all((0..starters).map(starter)).await {
            all.extend(joined.map_err(|error| BenchError::Bus(error.to_string()))??);
        }
        Ok(all)
    }
}

/// Fails where a run did not complete: its time would be that of something else.
///
/// # Errors
/// [`BenchError::Runs`].
pub(crate) fn all_completed(samples: &[Sample]) -> Result<(), BenchError> {
    let mut failures = samples
        .iter()
        .filter_map(|sample| sample.ended.failure.as_ref());
    let Some(first) = failures.next() else {
        return Ok(());
    };
    let failed = 1 + failures.count();
    Err(BenchError::Runs {
        failed,
        all: samples.len(),
        first: first.clone(),
    })
}
