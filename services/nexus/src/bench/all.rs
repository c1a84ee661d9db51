//! `nexus bench` and `nexus bench all`: every measurement in turn, each on a platform of its own, in
//! one report. One that fails is named in the report, and the others go on.

use super::error::BenchError;
use super::frame::say;
use super::report::Part;
use super::{budget, gateway, llm, policy, projections, runs, scale, tools};

/// How much is measured
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct AllArgs {
    /// Short phases, few sessions, turns and runs; without Python
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// As large as the aims say: 100,000 sessions and parked runs, 1,000 turns
    #[arg(long)]
    full: bool,
    /// Leave Python out, which is fetched where it is not there
    #[arg(long)]
    without_python: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Quick,
    Usual,
    Full,
}

/// One measurement with the arguments that its own command would take.
#[derive(Clone, Copy, Debug)]
enum Step {
    Runs,
    Budget,
    Policy,
    Tools,
    Llm,
    Gateway,
    Projections,
    Rebuild,
    Scaling,
}

const STEPS: [Step; 9] = [
    Step::Runs,
    Step::Budget,
    Step::Policy,
    Step::Tools,
    Step::Llm,
    Step::Gateway,
    Step::Projections,
    Step::Rebuild,
    Step::Scaling,
];

/// Measures everything.
///
/// # Errors
/// [`BenchError::Stopped`].
pub(crate) async fn parts(args: AllArgs) -> Result<Vec<Part>, BenchError> {
    let size = match (args.quick, args.full) {
        (true, _) => Size::Quick,
        (_, true) => Size::Full,
        _ => Size::Usual,
    };
    let mut parts = vec![];
    for step in STEPS {
        say(step.name());
        parts.push(match Box::pin(step.run(size, args.without_python)).await {
            Ok(part) => part,
            Err(BenchError::Stopped) => return Err(BenchError::Stopped),
            Err(error) => {
                let mut part = Part::new(step.name(), "It gave no figures.");
                part.failure = Some(error.to_string());
                part
            }
        });
    }
    Ok(parts)
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Budget => "budget",
            Self::Policy => "policy",
            Self::Tools => "tools",
            Self::Llm => "llm",
            Self::Gateway => "gateway",
            Self::Projections => "projections",
            Self::Rebuild => "rebuild",
            Self::Scaling => "scaling",
        }
    }

    async fn run(self, size: Size, without_python: bool) -> Result<Part, BenchError> {
        let of = |quick: &'static [&str], full: &'static [&str]| match size {
            Size::Quick => quick,
            Size::Usual => &[],
            Size::Full => full,
        };
        match self {
            Self::Runs => {
                let quick = &["--runs=50", "--seconds=3", "--warm-up=1"];
                runs::part(&read(of(quick, &["--seconds=30"]))?).await
            }
            Self::Budget => {
                let quick = &["--seconds=2", "--warm-up=1", "--ledgers=100"];
                budget::part(&read(of(quick, &["--seconds=20"]))?).await
            }
            Self::Policy => policy::part(&read(of(&["--seconds=1"], &[]))?).await,
            Self::Tools => {
                let python: &[&str] = match without_python || size == Size::Quick {
                    true => &["--without-python"],
                    false => &[],
                };
                tools::part(&read(python)?).await
            }
            Self::Llm => {
                let quick = &["--calls=50", "--streams=50"];
                llm::part(&read(of(quick, &[]))?).await
            }
            Self::Gateway => {
                let quick = &[
                    "--seconds=2",
                    "--warm-up=1",
                    "--idle=1000",
                    "--listeners=20",
                ];
                gateway::part(&read(of(quick, &["--seconds=15"]))?).await
            }
            Self::Projections => {
                let quick = &["--events=30000", "--seconds=2"];
                projections::part(&read(of(quick, &["--events=2000000"]))?).await
            }
            Self::Rebuild => {
                let args = read(of(&["--events=30000"], &["--events=2000000"]))?;
                projections::rebuild_part(&args).await
            }
            Self::Scaling => {
                let quick = &[
                    "--seconds=2",
                    "--sessions=1000",
                    "--runs=300",
                    "--turns=50",
                    "--parked=200",
                ];
                scale::part(&read(of(quick, &["--full", "--seconds=15"]))?).await
            }
        }
    }
}

/// Arguments as a person would write them: what is not said is as that command has it.
fn read<A: clap::Args>(arguments: &[&str]) -> Result<A, BenchError> {
    let command = A::augment_args(clap::Command::new("bench").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments);
    let found = matches.and_then(|matches| A::from_arg_matches(&matches));
    found.map_err(|error| BenchError::Arguments(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn arguments_are_those_of_the_command() {
        let args: gateway::GatewayArgs = read(&["--idle=7"]).unwrap();
        assert_eq!((args.idle, args.listeners), (7, 100));
        assert!(read::<gateway::GatewayArgs>(&["--nonsense"]).is_err());
    }
}
