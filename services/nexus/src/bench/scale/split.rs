//! The same roles in one process, in two and in four, and each in a process of its own. On as many
//! cores as there are the rate cannot grow with processes: what is looked for is that sharing costs
//! nothing, and what each role takes.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_events::Tenant;

use super::Lines;
use crate::bench::error::BenchError;
use crate::bench::frame::{self, say};
use crate::bench::load::Via;
use crate::bench::model_server::OwnModelServer;
use crate::bench::platform::Platform;
use crate::bench::processes::Group;
use crate::bench::report::runs::Saturated;
use crate::bench::report::{Figure, Part, Unit};
use crate::bench::runs::{self, How};

/// Of a process that has a gateway, and of the others.
const FIRST: &[&str] = &[
    "run",
    "budget",
    "policy",
    "tools",
    "llm",
    "projector",
    "gateway",
];
const FURTHER: &[&str] = &["run", "budget", "policy", "tools", "llm", "projector"];
const LABELS: [&str; 4] = ["first", "second", "third", "fourth"];
const EACH: [Group<'static>; 7] = [
    ("run", &["run"]),
    ("budget", &["budget"]),
    ("policy", &["policy"]),
    ("tools", &["tools"]),
    ("llm", &["llm"]),
    ("projector", &["projector"]),
    ("gateway", &["gateway"]),
];
const IN_FLIGHT: usize = 128;
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) async fn measure(length: Duration, part: &mut Part) -> Result<(), BenchError> {
    let lines = ["runs a second"];
    let mut rates = Lines::new(
        "Runs a second, by processes",
        "processes",
        Unit::PerSecond,
        &lines,
    );
    let lines = ["platform and servers"];
    let mut cpu = Lines::new("CPU a run, by processes", "processes", Unit::Ms, &lines);
    for count in [1, 2, 4] {
        let label = |at: usize| LABELS.get(at).copied().unwrap_or_default();
        let roles = |at: usize| if at == 0 { FIRST } else { FURTHER };
        let groups: Vec<Group<'_>> = (0..count).map(|at| (label(at), roles(at))).collect();
        say(&format!("all roles in {count} process(es)"));
        let (found, _) = saturated(&groups, length).await?;
        let each = found.cpu_us_per_run_platform.unwrap_or_default() / 1000.0;
        let (name, rate) = (format!("{count} process(es)"), found.runs_per_second);
        part.plain(format!("runs a second, {name}"), rate, Unit::PerSecond);
        part.plain(format!("CPU a run, {name}"), each, Unit::Ms);
        rates.add(count as f64, &[rate]);
        cpu.add(count as f64, &[each]);
    }
    part.charts.extend([rates.0, cpu.0]);
    say("each role in a process of its own");
    let (found, memory) = saturated(&EACH, length).await?;
    let rate = found.runs_per_second;
    part.plain("runs a second, a process each role", rate, Unit::PerSecond);
    part.cpu("a run, a process each role", &found.cpu_us_per_run);
    for (role, bytes) in memory {
        let name = format!("memory, a process each role: {role}");
        part.add(Figure::new(name, bytes as f64, Unit::Bytes));
    }
    Ok(())
}

async fn saturated(
    groups: &[Group<'_>],
    length: Duration,
) -> Result<(Saturated, BTreeMap<String, u64>), BenchError> {
    let model = OwnModelServer::start().await?;
    let platform = Platform::pieces(model, "", groups).await?;
    let measure = async |platform: &Platform| {
        let tenants: Vec<Tenant> = "bench".parse().into_iter().collect();
        let how = How {
            via: Via::Bus,
            in_flight: IN_FLIGHT,
            warm_up: WARM_UP,
            length,
        };
        let (found, _) = runs::saturated(how, platform, &tenants).await?;
        Ok((found, platform.memory()))
    };
    frame::measured(platform, measure).await
}
