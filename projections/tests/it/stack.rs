//! Real servers, a real stream and real tables, for one test each.

use std::time::Duration;

use async_nats::jetstream;
use nexus_bus::{Bus, BusConfig, TopologyConfig};
use nexus_devstack::testing::{TestNats, fresh_database};
use nexus_projections::{
    Projections, ProjectionsOptions, Projector, ProjectorMetrics, ProjectorOptions, ProjectorState,
    Verified, verify,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::Message;

pub(crate) const STREAM: &str = nexus_bus::topology::EVENTS;
/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stack {
    pub(crate) nats: TestNats,
    pub(crate) bus: Bus,
    pub(crate) js: jetstream::Context,
    pub(crate) database_url: String,
    pub(crate) projections: Projections,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let nats = TestNats::start().await.unwrap();
        let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
            .await
            .unwrap();
        nexus_bus::ensure(&bus, &TopologyConfig::default())
            .await
            .unwrap();
        Self::with(nats, bus).await
    }

    /// With a log, and nothing else on the bus, that begins at a sequence.
    pub(crate) async fn start_at(first_sequence: u64) -> Self {
        let nats = TestNats::start().await.unwrap();
        let bus = Bus::connect(BusConfig::new(nats.url(), "test"))
            .await
            .unwrap();
        // The client's own type has no first sequence.
        let log = serde_json::json!({
            "name": STREAM, "subjects": [nexus_events::subject::ALL_EVENTS],
            "first_seq": first_sequence, "allow_direct": true,
        });
        let create = format!("$JS.API.STREAM.CREATE.{STREAM}");
        let answer = bus.client().request(create, log.to_string().into());
        let answer = answer.await.unwrap().payload;
        assert!(
            !String::from_utf8_lossy(&answer).contains("error"),
            "{answer:?}"
        );
        Self::with(nats, bus).await
    }

    async fn with(nats: TestNats, bus: Bus) -> Self {
        let js = bus.jetstream().clone();
        let database_url = fresh_database().await.unwrap();
        let projections = Projections::connect(&database_url, ProjectionsOptions::default())
            .await
            .unwrap();
        projections.migrate().await.unwrap();
        Self {
            nats,
            bus,
            js,
            database_url,
            projections,
        }
    }

    /// Publishes in order; gives the last sequence.
    pub(crate) async fn publish(&self, messages: &[Message]) -> u64 {
        let mut last = 0;
        for some in messages.chunks(500) {
            let mut acks = Vec::with_capacity(some.len());
            for message in some {
                let body = message.body.clone().into();
                acks.push(
                    self.js
                        .publish(message.subject.clone(), body)
                        .await
                        .unwrap(),
                );
            }
            for ack in acks {
                last = ack.await.unwrap().sequence;
            }
        }
        last
    }

    pub(crate) fn projector(&self) -> Running {
        self.projector_with(ProjectorOptions {
            retry_every: Duration::from_millis(100),
            ..ProjectorOptions::default()
        })
    }

    pub(crate) fn projector_with(&self, options: ProjectorOptions) -> Running {
        let metrics = ProjectorMetrics::default();
        let projector = Projector::new(&self.projections, self.js.clone(), options, metrics);
        let (applied, state) = (projector.applied(), projector.state());
        let stop = CancellationToken::new();
        let task = tokio::spawn(projector.run(stop.clone()));
        Running {
            applied,
            state,
            stop,
            task,
        }
    }

    pub(crate) async fn applied(&self, seq: u64) {
        self.projections.wait_for_seq(seq, PATIENCE).await.unwrap();
    }

    pub(crate) async fn verify(&self) -> Verified {
        verify(&self.projections, self.js.clone(), STREAM, &mut |_| {})
            .await
            .unwrap()
    }

    /// The tables are what a rebuild gives.
    pub(crate) async fn assert_equal(&self) -> Verified {
        let verified = self.verify().await;
        for table in &verified.tables {
            assert!(table.is_equal(), "{table:#?}");
        }
        verified
    }

    /// A connection of the test's own.
    pub(crate) async fn sql(&self) -> sqlx::PgConnection {
        use sqlx::Connection;
        let mut db = sqlx::PgConnection::connect(&self.database_url)
            .await
            .unwrap();
        sqlx::query("SET search_path TO nexus")
            .execute(&mut db)
            .await
            .unwrap();
        db
    }
}

/// A projector at work.
pub(crate) struct Running {
    pub(crate) applied: watch::Receiver<u64>,
    pub(crate) state: watch::Receiver<ProjectorState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// As a process that dies: in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    pub(crate) async fn until(&mut self, is: impl Fn(&ProjectorState) -> bool) -> ProjectorState {
        let reached = tokio::time::timeout(PATIENCE, self.state.wait_for(is)).await;
        reached.expect("the state comes").unwrap().clone()
    }

    pub(crate) async fn reached(&mut self, seq: u64) {
        let reached = self.applied.wait_for(|applied| *applied >= seq);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("it is applied")
            .unwrap();
    }
}
