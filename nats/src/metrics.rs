//! What an operator asks of the bus, in one registry a process. Other crates register theirs in
//! the same one through [`register`]; the names' prefix `nexus` and the encoding are here only.

use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serde_json::Value;

use crate::connect::Bus;
use crate::js::{self, ApiError};
use crate::read::{self, ReadError};
use crate::topology;

/// Buckets for durations in seconds, from a tenth of a millisecond to five minutes.
pub const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0,
    60.0, 300.0,
];

static REGISTRY: LazyLock<Mutex<Registry>> =
    LazyLock::new(|| Mutex::new(Registry::with_prefix("nexus")));
static BUS: LazyLock<BusMetrics> = LazyLock::new(|| register(BusMetrics::register));

/// The process's registry.
pub fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers metrics: `register(|registry| …)`. Their names get the prefix `nexus_`; a counter gets
/// its `_total`, a unit its suffix.
pub fn register<T>(with: impl FnOnce(&mut Registry) -> T) -> T {
    with(&mut registry())
}

/// Everything that is registered, as Prometheus and OpenMetrics scrape it
/// (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
pub fn encoded() -> String {
    LazyLock::force(&BUS);
    let mut text = String::new();
    if encode(&mut text, &registry()).is_err() {
        // Writing to a string does not fail; a metric that does is left out with a remark.
        let _ = writeln!(text, "# encoding failed");
    }
    text
}

/// The bus's own metrics.
pub fn bus() -> &'static BusMetrics {
    &BUS
}

/// How a handled command ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Handled {
    /// The role that handled it.
    pub role: String,
    /// The command, `run.start`.
    pub command: String,
    /// `ok`, `rejected`, `retried`, `unavailable`, `dead` or `undecodable`.
    pub outcome: &'static str,
}

/// What became of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Snapshots {
    /// `written`, `failed`, `used` or `ignored`.
    pub outcome: &'static str,
}

/// One label: the role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByRole {
    /// The role.
    pub role: String,
}

/// See [`bus`].
#[derive(Debug)]
pub struct BusMetrics {
    /// Commands by role, command and outcome.
    pub commands: Family<Handled, Counter>,
    /// How long handling took, by role.
    pub handling: Family<ByRole, Histogram, fn() -> Histogram>,
    /// Commits that were appended.
    pub appends: Counter,
    /// Appends that met another writer.
    pub conflicts: Counter,
    /// Commands that were laid aside, by role.
    pub dead_letters: Family<ByRole, Counter>,
    /// Snapshots of long aggregates, by what became of them.
    pub snapshots: Family<Snapshots, Counter>,
    /// Whether this process is the active one, by role; of roles that have one only.
    pub active: Family<ByRole, Gauge>,
    /// Commands that wait, by role.
    pub waiting: Family<ByRole, Gauge>,
    /// Commands in work, by role.
    pub in_work: Family<ByRole, Gauge>,
    /// Age of the oldest command that is not done, in seconds, by role.
    pub oldest: Family<ByRole, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl BusMetrics {
    fn register(registry: &mut Registry) -> Self {
        let handling: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            commands: Family::default(),
            handling: Family::new_with_constructor(handling),
            appends: Counter::default(),
            conflicts: Counter::default(),
            dead_letters: Family::default(),
            snapshots: Family::default(),
            active: Family::default(),
            waiting: Family::default(),
            in_work: Family::default(),
            oldest: Family::default(),
        };
        let m = &metrics;
        let help = "Commands handled, by role, command and outcome";
        registry.register("commands", help, m.commands.clone());
        let help = "Time from taking a command to settling it, by role";
        registry.register_with_unit("command_handling", help, Unit::Seconds, m.handling.clone());
        registry.register(
            "appends",
            "Commits appended to the event log",
            m.appends.clone(),
        );
        let help = "Appends that met another writer and were decided again";
        registry.register("append_conflicts", help, m.conflicts.clone());
        let help = "Commands laid aside as dead letters, by role";
        registry.register("dead_letters", help, m.dead_letters.clone());
        let help = "Snapshots of long aggregates, by what became of them";
        registry.register("snapshots", help, m.snapshots.clone());
        let help = "1 where this process is the active one of a role that has one only, by role";
        registry.register("role_active", help, m.active.clone());
        let help = "Commands that wait to be taken, by role";
        registry.register("queue_waiting_commands", help, m.waiting.clone());
        let help = "Commands taken and not yet settled, by role";
        registry.register("queue_taken_commands", help, m.in_work.clone());
        let help = "Age of the oldest command that is not done, by role";
        registry.register_with_unit("queue_oldest_age", help, Unit::Seconds, m.oldest.clone());
        metrics
    }

    pub(crate) fn settled(&self, role: &str, command: &str, outcome: &'static str) {
        let labels = Handled {
            role: role.to_owned(),
            command: command.to_owned(),
            outcome,
        };
        self.commands.get_or_create(&labels).inc();
    }

    pub(crate) fn snapshot(&self, outcome: &'static str) {
        self.snapshots.get_or_create(&Snapshots { outcome }).inc();
    }

    pub(crate) fn took(&self, role: &str, duration: Duration) {
        let labels = ByRole {
            role: role.to_owned(),
        };
        self.handling
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
    }
}

/// A role's queue as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The role.
    pub role: String,
    /// Commands that wait.
    pub waiting: u64,
    /// Commands taken and not yet settled, those that wait for another try included.
    pub in_work: u64,
    /// Age of the oldest command that is not done; none when there is none.
    pub oldest: Option<Duration>,
}

/// A queue that could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The consumer could not be asked.
    #[error("queue of role {role} cannot be read")]
    Consumer {
        /// The role.
        role: String,
        /// What the server says.
        #[source]
        source: ApiError,
    },
    /// The oldest command could not be read.
    #[error(transparent)]
    Oldest(#[from] ReadError),
}

/// Looks at the queue of each role (name, command roles) and sets the gauges: two or more requests
/// a role, for a scrape or every few seconds. A role that has never run has no queue of its own and
/// is counted by its oldest command only.
///
/// # Errors
/// [`SampleError`].
pub async fn sample_queues(
    bus: &Bus,
    roles: &[(&str, &[&str])],
) -> Result<Vec<QueueDepth>, SampleError> {
    let mut depths = Vec::with_capacity(roles.len());
    for (role, command_roles) in roles {
        let depth = queue_depth(bus, role, command_roles).await?;
        let labels = ByRole {
            role: depth.role.clone(),
        };
        let metrics = self::bus();
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        metrics
            .waiting
            .get_or_create(&labels)
            .set(gauge(depth.waiting));
        metrics
            .in_work
            .get_or_create(&labels)
            .set(gauge(depth.in_work));
        let age_s = depth.oldest.unwrap_or_default().as_secs_f64();
        metrics.oldest.get_or_create(&labels).set(age_s);
        depths.push(depth);
    }
    Ok(depths)
}

async fn queue_depth(
    bus: &Bus,
    role: &str,
    command_roles: &[&str],
) -> Result<QueueDepth, SampleError> {
    let name = crate::consumer::name_of(role);
    let verb = format!("CONSUMER.INFO.{}.{name}", topology::COMMANDS);
    let info: Value = match js::api(bus, &verb, &Value::Null).await {
        Ok(info) => info,
        Err(error) if error.err_code() == Some(js::CONSUMER_NOT_FOUND) => Value::Null,
        Err(source) => {
            return Err(SampleError::Consumer {
                role: role.to_owned(),
                source,
            });
        }
    };
    let number = |field: &str| info.get(field).and_then(Value::as_u64).unwrap_or(0);
    let mut oldest = None;
    for command_role in command_roles {
        let filter = nexus_events::subject::commands_of(command_role);
        let first = read::next(bus, topology::COMMANDS, &filter, 1).await?;
        let age = first.map(|first| Duration::from_millis(bus.now().millis_since(first.time)));
        oldest = oldest.max(age);
    }
    Ok(QueueDepth {
        role: role.to_owned(),
        waiting: number("num_pending"),
        in_work: number("num_ack_pending"),
        oldest,
    })
}
