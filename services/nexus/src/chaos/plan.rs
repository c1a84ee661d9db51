//! What is broken, and when: a list that follows from the seed and the options alone. Drawing the next
//! fault while the platform runs was the alternative; then no seed would ever break it the same way
//! twice, for what is drawn would depend on how fast it recovers.

use serde::Serialize;

use super::random::Random;
use crate::roles::Role;

/// Processes of each role.
pub(crate) const INSTANCES: usize = 2;
/// The first moments belong to the load, so that there is something to break.
const BEGIN_MS: u64 = 1_500;
/// A command is given to somebody else after ten seconds without a word; a frozen process sleeps longer.
const FREEZE_MS: (u64, u64) = (11_000, 14_000);

/// Kinds of faults, by which they are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// kill -9 of roles, nats-server and Postgres
    Kill,
    /// Processes are frozen (SIGSTOP) for longer than the bus waits for them
    Stop,
    /// Connections are cut, or refused for a while
    Cut,
    /// What is sent takes its time
    Delay,
    /// Connections are open and nothing comes through
    Stall,
    /// The disk of a server is full
    Disk,
    /// A role is started again with a clock that is wrong
    Clock,
    /// Workers are replaced one by one, policy and tools change while runs go on
    Deploy,
    /// With several servers of the bus: one is cut off from the others, or each is restarted in turn
    Nodes,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::Stop,
        Self::Cut,
        Self::Delay,
        Self::Stall,
        Self::Disk,
        Self::Clock,
        Self::Deploy,
        Self::Nodes,
    ];

    /// How often it is drawn, against the others.
    fn weight(self) -> u64 {
        match self {
            Self::Kill => 10,
            Self::Cut | Self::Nodes => 5,
            Self::Stop | Self::Delay | Self::Stall => 3,
            Self::Clock => 2,
            Self::Disk => 1,
            // Once in a plan, in its middle.
            Self::Deploy => 0,
        }
    }
}

/// One process of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    /// The role.
    pub(crate) role: Role,
    /// Which of its processes, from zero.
    pub(crate) index: usize,
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.role.name(), self.index)
    }
}

impl Serialize for Instance {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A process of a role.
    Role(Instance),
    /// A nats-server, by its number.
    Nats(usize),
    /// Postgres.
    Postgres,
}

/// What a process of a role is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Link {
    /// The bus.
    Nats,
    /// The read models.
    Postgres,
    /// The model.
    Model,
}

/// What is done to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Harm {
    /// All are cut; new ones may be made at once.
    Cut,
    /// All are cut and new ones refused for a while.
    Refuse,
    /// Open, and nothing comes through in either direction.
    Stall,
    /// What comes is passed on so much later.
    Delay {
        /// Milliseconds.
        by_ms: u64,
    },
}

/// One thing that goes wrong, and how long it stays so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub(crate) enum Fault {
    /// kill -9; started again after a while.
    Kill {
        /// What.
        target: Target,
        /// How long it is away.
        for_ms: u64,
    },
    /// SIGSTOP, then SIGCONT.
    Freeze {
        /// What.
        target: Target,
        /// How long it sleeps.
        for_ms: u64,
    },
    /// Connections of one process, or of all.
    Harm {
        /// To what.
        link: Link,
        /// Whose; everybody's where none is named.
        whose: Option<Instance>,
        /// What is done.
        harm: Harm,
        /// How long.
        for_ms: u64,
    },
    /// No room is left on the volume of the nats-server.
    DiskFull {
        /// Its number.
        node: usize,
        /// How long.
        for_ms: u64,
    },
    /// Started again with a clock that is ahead by so much, or behind.
    Clock {
        /// Which.
        instance: Instance,
        /// By how much it is ahead.
        offset_ms: i64,
    },
    /// Every worker is replaced, one after another, by one of another configuration; policy and a tool
    /// get a new version.
    Deploy,
    /// A server of the bus hears nothing from the others, nor they from it. Clients reach all of them.
    Isolate {
        /// Its number.
        node: usize,
        /// How long.
        for_ms: u64,
    },
    /// Every server of the bus is stopped in order and started again, one after another.
    Rolling,
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// Since the load began.
    pub(crate) at_ms: u64,
    /// What goes wrong.
    #[serde(flatten)]
    pub(crate) fault: Fault,
}

/// What a plan is made for.
#[derive(Clone, Debug)]
pub(crate) struct PlanOptions {
    /// How long faults are made.
    pub(crate) duration_ms: u64,
    /// Which kinds.
    pub(crate) kinds: Vec<Kind>,
    /// Servers of the bus.
    pub(crate) nodes: usize,
}

/// Everything that goes wrong, in order.
pub(crate) fn plan(seed: u64, options: &PlanOptions) -> Vec<Step> {
    let mut random = Random::new(seed, "plan");
    let kinds = options.kinds.iter().copied();
    // One server has nobody to be cut off from.
    let kinds: Vec<Kind> = kinds
        .filter(|kind| *kind != Kind::Nodes || options.nodes > 1)
        .collect();
    let mut steps = vec![];
    let mut at_ms = BEGIN_MS;
    while at_ms < options.duration_ms {
        if let Some(kind) = draw(&mut random, &kinds) {
            let fault = fault(&mut random, kind, options);
            steps.push(Step { at_ms, fault });
        }
        at_ms += random.between(400, 2_400);
    }
    if options.kinds.contains(&Kind::Deploy) {
        let fault = Fault::Deploy;
        steps.push(Step {
            at_ms: options.duration_ms / 3,
            fault,
        });
    }
    if kinds.contains(&Kind::Nodes) {
        let fault = Fault::Rolling;
        steps.push(Step {
            at_ms: options.duration_ms / 3 * 2,
            fault,
        });
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn draw(random: &mut Random, kinds: &[Kind]) -> Option<Kind> {
    let total: u64 = kinds.iter().map(|kind| kind.weight()).sum();
    let mut left = random.between(1, total.max(1));
    kinds.iter().copied().find(|kind| {
        let hit = left <= kind.weight();
        left = left.saturating_sub(kind.weight());
        hit && kind.weight() > 0
    })
}

fn fault(random: &mut Random, kind: Kind, options: &PlanOptions) -> Fault {
    let node = |random: &mut Random| {
        let last = u64::try_from(options.nodes.saturating_sub(1)).unwrap_or(0);
        usize::try_from(random.between(0, last)).unwrap_or(0)
    };
    match kind {
        Kind::Kill => {
            let target = match random.between(1, 100) {
                1..=15 => Target::Nats(node(random)),
                16..=25 => Target::Postgres,
                _ => Target::Role(instance(random, &Role::ALL)),
            };
            Fault::Kill {
                target,
                for_ms: random.between(0, 2_500),
            }
        }
        Kind::Stop => {
            let (from, to) = FREEZE_MS;
            let target = match random.percent(15) {
                true => Target::Nats(node(random)),
                false => Target::Role(instance(random, &Role::ALL)),
            };
            // Nobody waits as long for a server as for a worker.
            let for_ms = match target {
                Target::Nats(_) => random.between(1_000, 4_000),
                _ => random.between(from, to),
            };
            Fault::Freeze { target, for_ms }
        }
        Kind::Cut => match random.percent(70) {
            true => harm(random, Harm::Cut, (0, 0)),
            false => harm(random, Harm::Refuse, (300, 4_000)),
        },
        Kind::Delay => {
            let by_ms = random.between(20, 400);
            harm(random, Harm::Delay { by_ms }, (1_000, 6_000))
        }
        Kind::Stall => harm(random, Harm::Stall, (1_000, 12_000)),
        Kind::Disk => Fault::DiskFull {
            node: node(random),
            for_ms: random.between(1_500, 4_000),
        },
        Kind::Clock => {
            let seconds = i64::try_from(random.between(1, 240)).unwrap_or(1) - 120;
            Fault::Clock {
                instance: instance(random, &Role::ALL),
                offset_ms: seconds * 1000,
            }
        }
        Kind::Deploy => Fault::Deploy,
        // Longer than the others take to choose a leader, and than its clients stay with it.
        Kind::Nodes => Fault::Isolate {
            node: node(random),
            for_ms: random.between(4_000, 15_000),
        },
    }
}

fn instance(random: &mut Random, of: &[Role]) -> Instance {
    let last = u64::try_from(INSTANCES - 1).unwrap_or(0);
    Instance {
        role: random.pick(of).copied().unwrap_or(Role::Run),
        index: usize::try_from(random.between(0, last)).unwrap_or(0),
    }
}

fn harm(random: &mut Random, harm: Harm, (from, to): (u64, u64)) -> Fault {
    let link = match random.between(1, 100) {
        1..=70 => Link::Nats,
        71..=85 => Link::Postgres,
        _ => Link::Model,
    };
    let whose = match link {
        _ if random.percent(30) => None,
        Link::Nats => Some(instance(random, &Role::ALL)),
        Link::Postgres => Some(instance(random, &[Role::Projector, Role::Gateway])),
        Link::Model => Some(instance(random, &[Role::Llm])),
    };
    Fault::Harm {
        link,
        whose,
        harm,
        for_ms: random.between(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kinds: &[Kind]) -> PlanOptions {
        PlanOptions {
            duration_ms: 60_000,
            kinds: kinds.to_vec(),
            nodes: 1,
        }
    }

    #[test]
    fn a_seed_gives_the_same_plan_and_another_seed_another() {
        let options = options(&Kind::ALL);
        assert_eq!(plan(1, &options), plan(1, &options));
        assert_ne!(plan(1, &options), plan(2, &options));
    }

    #[test]
    fn nothing_is_planned_that_was_not_asked_for() {
        assert!(plan(1, &options(&[])).is_empty());
        let steps = plan(1, &options(&[Kind::Stop]));
        let frozen = |step: &Step| matches!(step.fault, Fault::Freeze { .. });
        assert!(!steps.is_empty() && steps.iter().all(frozen));
        let steps = plan(1, &options(&[Kind::Deploy]));
        assert!(matches!(steps.as_slice(), [step] if step.fault == Fault::Deploy));
    }

    #[test]
    fn servers_are_cut_off_only_where_there_are_several() {
        let mut options = options(&[Kind::Nodes]);
        assert!(plan(1, &options).is_empty());
        options.nodes = 3;
        let steps = plan(1, &options);
        let rolling = steps.iter().filter(|step| step.fault == Fault::Rolling);
        assert_eq!(rolling.count(), 1);
        assert!(steps.len() > 5);
    }

    #[test]
    fn a_frozen_worker_sleeps_longer_than_the_bus_waits() {
        let ack_wait = nexus_bus::RoleSpec::new("run", &["run"]).ack_wait;
        assert!(u128::from(FREEZE_MS.0) > ack_wait.as_millis());
    }

    #[test]
    fn with_a_few_seeds_every_kind_comes_up_in_order() {
        let options = options(&Kind::ALL);
        let all: Vec<Step> = (0..10).flat_map(|seed| plan(seed, &options)).collect();
        let any = |found: fn(&Fault) -> bool| all.iter().any(|step| found(&step.fault));
        assert!(any(|f| matches!(
            f,
            Fault::Kill {
                target: Target::Postgres,
                ..
            }
        )));
        assert!(any(|f| matches!(
            f,
            Fault::Kill {
                target: Target::Nats(0),
                ..
            }
        )));
        assert!(any(|f| matches!(f, Fault::Freeze { .. })));
        assert!(any(|f| matches!(
            f,
            Fault::Harm {
                harm: Harm::Stall,
                ..
            }
        )));
        assert!(any(|f| matches!(
            f,
            Fault::Harm {
                harm: Harm::Delay { .. },
                ..
            }
        )));
        assert!(any(|f| matches!(f, Fault::DiskFull { .. })));
        assert!(any(|f| matches!(f, Fault::Clock { .. })));
        let steps = plan(3, &options);
        assert!(steps.is_sorted_by_key(|step| step.at_ms));
    }
}
