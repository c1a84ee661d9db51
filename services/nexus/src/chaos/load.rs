//! What is asked of the platform, and when: runs of every shape, which follow from the seed alone. What
//! the model says is laid down in each run's input (the model server's courses), so that any order
//! and any repetition of calls gives the same turns.

use nexus_events::command::{Budget, StartRun};
use nexus_events::{RunId, SessionId, Tenant};
use serde::Serialize;

use super::random::Random;
use super::witness::Tool;

/// A user whose runs go on a few at a time; the others wait in line.
pub(crate) const CROWD: &str = "crowd";
/// How many.
pub(crate) const CROWD_RUNS: u64 = 2;
/// A user who may spend little.
pub(crate) const POOR: &str = "poor";
/// In tokens.
pub(crate) const POOR_TOKENS: u64 = 4_000;
/// Everybody else.
const USERS: [&str; 3] = ["ann", "bob", "eve"];
/// Sessions in which runs meet.
pub(crate) const SESSIONS: u64 = 2;
/// A model that answers at once.
pub(crate) const QUICK: &str = "chaos-quick";
/// One that takes some seconds.
pub(crate) const SLOW: &str = "chaos-slow";

/// Two tenants, so that one can be taken for the other.
pub(crate) const TENANTS: [&str; 2] = ["default", "acme"];

/// How a run is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Via {
    /// A command on the bus.
    Bus,
    /// A request to a gateway.
    Http,
}

/// What a person does to a run once it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Nothing.
    Nothing,
    /// Stops it.
    Cancel {
        /// How long after it was accepted.
        after_ms: u64,
    },
    /// Has it rest.
    Pause {
        /// How long after it was accepted.
        after_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Tells it something.
    Signal {
        /// How long after it was accepted.
        after_ms: u64,
    },
}

/// One run that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunSpec {
    /// Its place among all.
    pub(crate) number: usize,
    /// When it is asked for, since the load began.
    pub(crate) at_ms: u64,
    /// What it is for, in a word.
    pub(crate) shape: Shape,
    /// How it is started.
    pub(crate) via: Via,
    /// Whose it is.
    pub(crate) tenant: &'static str,
    /// Who starts it.
    pub(crate) user: &'static str,
    /// The caller does not wait for the first answer, and asks again.
    pub(crate) impatient: bool,
    /// What is done to it.
    pub(crate) act: Act,
    /// What questions about it are answered with.
    pub(crate) grants: bool,
    /// The command.
    pub(crate) start: StartRun,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// One answer.
    Plain,
    /// Several turns, each with tools side by side.
    Tools,
    /// A call that people are asked about.
    Signed,
    /// A call that policy denies.
    Forbidden,
    /// A budget of its own that is too small for all it wants.
    Tight,
    /// Works for another run, and spends from its budget.
    Child,
    /// One of several in a conversation.
    Session,
    /// Long enough to be cancelled, paused or told something.
    Steered,
}

impl RunSpec {
    /// The run that its idempotency key names.
    pub(crate) fn run_id(&self) -> RunId {
        let key = self.start.idempotency_key.as_deref().unwrap_or_default();
        RunId::from_idempotency_key(&tenant(self.tenant), key)
    }
}

/// One of [`TENANTS`].
pub(crate) fn tenant(name: &str) -> Tenant {
    // The names above are valid, which a test says; nothing else is given.
    name.parse().unwrap_or_else(|_| Tenant::installation())
}

/// A session that several runs of the first tenant share.
pub(crate) fn session(seed: u64, number: u64) -> SessionId {
    SessionId::derive(&["chaos", &seed.to_string(), &number.to_string()])
}

/// The runs of a seed, in the order in which they are asked for, spread over most of the time.
pub(crate) fn load(seed: u64, runs: usize, duration_ms: u64) -> Vec<RunSpec> {
    let mut random = Random::new(seed, "load");
    let last = duration_ms * 9 / 10;
    let mut times: Vec<u64> = (0..runs).map(|_| random.between(0, last)).collect();
    times.sort_unstable();
    let mut specs: Vec<RunSpec> = vec![];
    for (number, at_ms) in times.into_iter().enumerate() {
        let spec = spec(&mut random, seed, number, at_ms, &specs);
        specs.push(spec);
    }
    specs
}

fn spec(random: &mut Random, seed: u64, number: usize, at_ms: u64, before: &[RunSpec]) -> RunSpec {
    let parent = before
        .iter()
        .rev()
        .find(|spec| spec.shape == Shape::Steered && spec.tenant == TENANTS[0]);
    let shape = match random.between(1, 100) {
        1..=15 => Shape::Plain,
        16..=45 => Shape::Tools,
        46..=55 => Shape::Signed,
        56..=62 => Shape::Forbidden,
        63..=70 => Shape::Tight,
        71..=78 if parent.is_some() => Shape::Child,
        79..=84 => Shape::Session,
        _ => Shape::Steered,
    };
    // A child and its parent are of one tenant; a session too.
    let first_tenant = matches!(shape, Shape::Child | Shape::Session) || random.percent(70);
    let tenant = TENANTS[usize::from(!first_tenant)];
    let user = match random.between(1, 100) {
        1..=20 => CROWD,
        21..=27 => POOR,
        _ => random.pick(&USERS).copied().unwrap_or(CROWD),
    };
    let via = match random.percent(60) {
        true => Via::Http,
        false => Via::Bus,
    };
    let course = course(random, shape);
    let start = StartRun {
        input: format!("Run {number}.\n{course}"),
        idempotency_key: Some(format!("chaos-{seed}-{number}")),
        model: Some(model(random, shape).to_owned()),
        tools: Some(Tool::ALL.map(|tool| tool.name().to_owned()).to_vec()),
        budget: (shape == Shape::Tight).then(|| Budget {
            tokens: Some(random.between(200, 2_500)),
            tool_calls: Some(random.between(1, 6)),
            ..Budget::default()
        }),
        parent_run_id: parent
            .filter(|_| shape == Shape::Child)
            .map(RunSpec::run_id),
        session_id: (shape == Shape::Session).then(|| session(seed, random.between(1, SESSIONS))),
        ..StartRun::default()
    };
    RunSpec {
        number,
        at_ms,
        shape,
        via,
        tenant,
        user,
        impatient: random.percent(30),
        act: act(random, shape),
        grants: random.percent(70),
        start,
    }
}

fn model(random: &mut Random, shape: Shape) -> &'static str {
    match shape {
        Shape::Steered => SLOW,
        _ if random.percent(40) => SLOW,
        _ => QUICK,
    }
}

fn act(random: &mut Random, shape: Shape) -> Act {
    let after_ms = random.between(0, 3_000);
    match (shape, random.between(1, 100)) {
        (Shape::Steered, 1..=45) => Act::Cancel { after_ms },
        (Shape::Steered, 46..=75) => Act::Pause {
            after_ms,
            for_ms: random.between(200, 4_000),
        },
        (Shape::Steered, _) => Act::Signal { after_ms },
        (_, 1..=5) => Act::Cancel { after_ms },
        _ => Act::Nothing,
    }
}

/// What the model is to say, turn by turn.
fn course(random: &mut Random, shape: Shape) -> String {
    let turns = match shape {
        Shape::Plain => 0,
        Shape::Forbidden | Shape::Signed | Shape::Child | Shape::Session => 1,
        Shape::Tools | Shape::Tight | Shape::Steered => random.between(1, 3),
    };
    let usual = [
        Tool::Calculator,
        Tool::Read,
        Tool::Pay,
        Tool::Pay,
        Tool::Slow,
    ];
    let mut lines = vec![];
    for turn in 1..=turns {
        let mut tools: Vec<Tool> = (0..random.between(1, 3))
            .filter_map(|_| random.pick(&usual).copied())
            .collect();
        match shape {
            Shape::Signed => tools.push(Tool::Signed),
            Shape::Forbidden => tools.push(Tool::Forbidden),
            _ => {}
        }
        for (place, tool) in tools.into_iter().enumerate() {
            let arguments = match tool {
                Tool::Calculator => format!(r#"{{"expression":"{turn}+{place}"}}"#),
                _ => format!(r#"{{"turn":{turn},"place":{place}}}"#),
            };
            lines.push(format!("turn {turn}: call {} {arguments}", tool.name()));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_load_and_another_seed_another() {
        assert_eq!(load(1, 60, 60_000), load(1, 60, 60_000));
        assert_ne!(load(1, 60, 60_000), load(2, 60, 60_000));
    }

    #[test]
    fn every_shape_comes_up_in_the_order_of_its_time() {
        let specs = load(1, 400, 60_000);
        for shape in [
            Shape::Plain,
            Shape::Tools,
            Shape::Signed,
            Shape::Forbidden,
            Shape::Tight,
            Shape::Child,
            Shape::Session,
            Shape::Steered,
        ] {
            assert!(specs.iter().any(|spec| spec.shape == shape), "{shape:?}");
        }
        assert!(specs.is_sorted_by_key(|spec| spec.at_ms));
    }

    #[test]
    fn the_tenants_are_two() {
        assert_ne!(tenant(TENANTS[0]), tenant(TENANTS[1]));
        assert_eq!(tenant(TENANTS[1]).as_str(), TENANTS[1]);
    }
}
