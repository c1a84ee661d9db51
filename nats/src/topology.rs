//! The streams, as data: what is sent to the server is what is written here, and a golden file
//! holds it. Few fixed streams and never one per run or tenant, as a stream or consumer costs the
//! server memory for ever while a subject costs some two hundred bytes.

use std::time::Duration;

use nexus_events::subject;
use serde::Serialize;

/// Commands: a work queue.
pub const COMMANDS: &str = "NEXUS_CMD";
/// Events: the truth.
pub const EVENTS: &str = "NEXUS_EVT";
/// Commands that could not be handled.
pub const DEAD_LETTERS: &str = "NEXUS_DLQ";
/// Scheduled messages, and what they become when due.
pub const TIMERS: &str = "NEXUS_TMR";
/// Bodies that are too large for an event, by digest.
pub const OBJECTS: &str = "NEXUS_OBJ";
/// States of long aggregates: a cache beside the truth. It may be emptied, and need not be backed
/// up.
pub const SNAPSHOTS: &str = "NEXUS_SNP";
/// What gateways count together of requests, for two minutes. It may be emptied: then limits begin
/// anew.
pub const QUOTAS: &str = "NEXUS_QTA";

/// Answers of models that may be given again: as [`SNAPSHOTS`], a cache.
pub const ANSWERS: &str = "NEXUS_ANS";

/// How far each webhook has come, a message each. It may be emptied: then webhooks begin again where
/// they were created.
pub const WEBHOOKS: &str = "NEXUS_WHK";

/// First tokens of all commands: a publish to any other is not acknowledged, instead of lying in a
/// queue that nobody reads.
pub const COMMAND_ROLES: [&str; 10] = [
    "run", "session", "budget", "policy", "llm", "tool", "approval", "memory", "key", "webhook",
];

/// How long an answer is kept at most, and how much all of them may take; older ones make room.
const ANSWERS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const ANSWERS_MAX_BYTES: u64 = 256 << 20;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Longer than any counted window and what is added to it for clocks that differ.
const QUOTAS_MAX_AGE: Duration = Duration::from_secs(120);
/// The server's default of 1,000 consumers a stream is lifted by any other positive number.
const MAX_CONSUMERS: u32 = 100_000;

/// What an installation decides about its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyConfig {
    /// Nodes that hold each stream: 1, or 3 in a cluster.
    pub replicas: usize,
    /// How long dead letters are kept.
    pub dead_letters_max_age: Duration,
    /// How long events are kept; for ever when absent. An aggregate whose first events are gone can
    /// no longer be loaded, so this is for installations that must forget.
    pub events_max_age: Option<Duration>,
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            dead_letters_max_age: Duration::from_secs(30 * 24 * 3600),
            events_max_age: None,
        }
    }
}

/// A stream, in the server's own words (`STREAM.CREATE`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamSpec {
    /// Name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it stores.
    pub subjects: Vec<String>,
    /// `limits` or `workqueue`.
    pub retention: &'static str,
    /// Always `file`.
    pub storage: &'static str,
    /// Nodes that hold it.
    pub num_replicas: usize,
    /// In nanoseconds; 0 for ever.
    pub max_age: u64,
    /// Of all messages together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// What happens at a limit: `old` makes room, `new` refuses.
    pub discard: &'static str,
    /// In nanoseconds.
    pub duplicate_window: u64,
    /// How many consumers it may have.
    pub max_consumers: u32,
    /// Of one subject; older ones make room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msgs_per_subject: Option<u32>,
    /// Read by sequence or subject without a consumer.
    pub allow_direct: bool,
    /// No single message is ever deleted.
    pub deny_delete: bool,
    /// Nothing is ever purged.
    pub deny_purge: bool,
    /// Takes scheduled messages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_msg_schedules: bool,
    /// A message may bring its own time to live.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_msg_ttl: bool,
    /// A message may replace the earlier ones of its subject, as schedules do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_rollup_hdrs: bool,
    /// What is stored is also published, for whoever listens now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
}

/// Where stored messages are published again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Republish {
    /// Which.
    pub src: &'static str,
    /// As what.
    pub dest: &'static str,
}

/// Every stream of an installation.
pub fn streams(config: &TopologyConfig) -> Vec<StreamSpec> {
    let base = base(config.replicas);
    vec![
        StreamSpec {
            name: COMMANDS,
            description: "Commands, gone once acknowledged",
            subjects: COMMAND_ROLES
                .into_iter()
                .map(subject::commands_of)
                .collect(),
            retention: "workqueue",
            ..base.clone()
        },
        StreamSpec {
            name: EVENTS,
            description: "Events: the truth",
            subjects: vec![subject::ALL_EVENTS.to_owned()],
            max_age: config.events_max_age.map_or(0, nanos),
            deny_delete: true,
            deny_purge: true,
            republish: Some(Republish {
                src: subject::ALL_EVENTS,
                dest: subject::LOG_MAPPING,
            }),
            ..base.clone()
        },
        StreamSpec {
            name: DEAD_LETTERS,
            description: "Commands that could not be handled, with the reason",
            subjects: vec![subject::ALL_DEAD_LETTERS.to_owned()],
            max_age: nanos(config.dead_letters_max_age),
            ..base.clone()
        },
        StreamSpec {
            name: TIMERS,
            description: "Scheduled commands, gone once relayed",
            subjects: vec![subject::ALL_TIMERS.to_owned()],
            retention: "workqueue",
            allow_msg_schedules: true,
            allow_msg_ttl: true,
            allow_rollup_hdrs: true,
            ..base.clone()
        },
        StreamSpec {
            name: OBJECTS,
            description: "Large bodies by digest, in chunks",
            subjects: vec![subject::ALL_OBJECTS.to_owned()],
            ..base.clone()
        },
        StreamSpec {
            name: SNAPSHOTS,
            description: "States of long aggregates; only saves time",
            subjects: vec![subject::ALL_SNAPSHOTS.to_owned()],
            max_msgs_per_subject: Some(1),
            ..base.clone()
        },
        StreamSpec {
            name: ANSWERS,
            description: "Answers that may be given again; only saves time",
            subjects: vec![subject::ALL_ANSWERS.to_owned()],
            max_age: nanos(ANSWERS_MAX_AGE),
            max_bytes: Some(ANSWERS_MAX_BYTES),
            max_msgs_per_subject: Some(1),
            allow_msg_ttl: true,
            ..base.clone()
        },
        StreamSpec {
            name: QUOTAS,
            description: "Requests of the last minute, by limit; only counts",
            subjects: vec![subject::ALL_QUOTAS.to_owned()],
            max_msgs_per_subject: Some(1),
            max_age: nanos(QUOTAS_MAX_AGE),
            ..base.clone()
        },
        StreamSpec {
            name: WEBHOOKS,
            description: "How far each webhook has come, and who delivers",
            subjects: vec![subject::ALL_WEBHOOKS.to_owned()],
            max_msgs_per_subject: Some(1),
            allow_msg_ttl: true,
            ..base
        },
    ]
}

fn base(replicas: usize) -> StreamSpec {
    StreamSpec {
        name: "",
        description: "",
        subjects: Vec::new(),
        retention: "limits",
        storage: "file",
        num_replicas: replicas,
        max_age: 0,
        max_bytes: None,
        discard: "old",
        duplicate_window: nanos(DUPLICATE_WINDOW),
        max_consumers: MAX_CONSUMERS,
        max_msgs_per_subject: None,
        allow_direct: true,
        deny_delete: false,
        deny_purge: false,
        allow_msg_schedules: false,
        allow_msg_ttl: false,
        allow_rollup_hdrs: false,
        republish: None,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
