//! A server, a bus, a small aggregate, and ways to wait for conditions.

use std::time::Duration;

use nexus_bus::{
    Bus, BusConfig, Cause, CommandMeta, Store, TopologyConfig, ensure, publish_command,
};
use nexus_devstack::testing::TestNats;
use nexus_events::aggregate::DecodeError;
use nexus_events::command::{CancelRun, ControlRun, SignalRun};
use nexus_events::{
    Aggregate, AggregateId, AggregateKind, Command, CommandId, DomainError, Event, Position, RunId,
    Tenant, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A server of the test's own with the streams on it.
pub(crate) struct Stand {
    pub(crate) server: TestNats,
    pub(crate) bus: Bus,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        let server = TestNats::start().await.expect("nats-server starts");
        let bus = Bus::connect(config(&server.url())).await.unwrap();
        ensure(&bus, &TopologyConfig::default()).await.unwrap();
        Self { server, bus }
    }

    /// Another process's view of the same bus.
    pub(crate) async fn other(&self) -> Bus {
        Bus::connect(config(&self.server.url())).await.unwrap()
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.bus.clone(), 10_000)
    }
}

pub(crate) fn config(url: &str) -> BusConfig {
    BusConfig::new(url, "test")
}

pub(crate) fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

pub(crate) fn command_id(text: &str) -> CommandId {
    text.parse().unwrap()
}

pub(crate) fn cause(text: &str) -> Cause {
    Cause {
        command_id: command_id(text),
        correlation: None,
        traceparent: None,
        actor: None,
        now: Timestamp::from_millis(1_700_000_000_000),
        source: "test",
    }
}

/// Waits until the condition holds, at most two minutes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// Messages that a stream holds.
pub(crate) async fn messages(bus: &Bus, stream: &str) -> u64 {
    bus.jetstream()
        .get_stream(stream)
        .await
        .unwrap()
        .cached_info()
        .state
        .messages
}

/// `run.signal` with a text, for a run made of the number.
pub(crate) fn signal(n: u128, input: &str) -> Command {
    let run_id = RunId::new(Uuid::from_u128(n + 1));
    Command::SignalRun(SignalRun {
        run_id,
        input: input.to_owned(),
    })
}

/// `run.cancel` of a run made of the number.
pub(crate) fn cancel(n: u128) -> Command {
    let run_id = RunId::new(Uuid::from_u128(n + 1));
    Command::CancelRun(CancelRun(ControlRun {
        run_id,
        reason: None,
    }))
}

pub(crate) async fn send(bus: &Bus, id: &str, command: &Command) {
    let meta = CommandMeta::new(command_id(id), "test");
    publish_command(bus, &tenant(), command, &meta)
        .await
        .unwrap();
}

/// A sum, for tests of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) total: u64,
    pub(crate) last: Position,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum SumEvent {
    #[serde(rename = "test.added.v1")]
    Added { n: u64 },
}

impl Event for SumEvent {
    fn type_name(&self) -> &'static str {
        "test.added.v1"
    }

    fn decode(type_name: &str, data: &RawValue) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Added {
            n: u64,
        }
        match type_name {
            "test.added.v1" => serde_json::from_str(data.get())
                .map(|Added { n }| Self::Added { n })
                .map_err(|source| DecodeError::Data {
                    type_name: type_name.to_owned(),
                    source,
                }),
            other => Err(DecodeError::UnknownType(other.to_owned())),
        }
    }

    fn type_names() -> &'static [&'static str] {
        &["test.added.v1"]
    }
}

impl Aggregate for Sum {
    const KIND: AggregateKind = AggregateKind::Session;
    type Event = SumEvent;

    fn evolve(&mut self, event: &SumEvent, at: Position) {
        let SumEvent::Added { n } = event;
        self.total += n;
        self.last = at;
    }
}

/// Adds, up to a limit.
pub(crate) fn add(n: u64, limit: u64) -> impl FnMut(&Sum) -> Result<Vec<SumEvent>, DomainError> {
    move |sum| {
        if sum.total + n > limit {
            return Err(DomainError::invalid(
                "n",
                format!("{} and {n} is too much", sum.total),
            ));
        }
        Ok(vec![SumEvent::Added { n }])
    }
}

pub(crate) fn sum_id(name: &str) -> AggregateId {
    AggregateId::from_token(name)
}
