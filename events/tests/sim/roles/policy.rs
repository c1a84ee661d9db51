//! Judges what a run is about to do, by chance.

use nexus_events::CommandId;
use nexus_events::command::RunRef;
use nexus_events::run::{self, PolicyDecided, PolicyPoint};

use crate::sim::execute::{load_run, record};
use crate::sim::world::{Step, World};

pub(crate) fn evaluate(world: &mut World, id: &CommandId, mut run: RunRef) -> Step<()> {
    let points = load_run(world, &mut run).points_to_judge();
    let decisions: Vec<_> = points
        .into_iter()
        .map(|point| judge(world, point))
        .collect();
    world.point("after judging")?;
    record(world, run, id, "", |run, now| {
        run::record_policy(run, decisions.clone(), now)
    })
    .map(|_| ())
}

fn judge(world: &mut World, point: PolicyPoint) -> PolicyDecided {
    let denied = match point {
        PolicyPoint::ToolCall { .. } => world.rng.percent(15),
        PolicyPoint::RunStart | PolicyPoint::LlmCall { .. } => world.rng.percent(2),
    };
    PolicyDecided {
        point,
        allowed: !denied,
        reasons: vec!["chance".to_owned()],
        rules: vec![],
        bundle: "builtin".to_owned(),
        duration_us: 1,
        ..PolicyDecided::default()
    }
}
