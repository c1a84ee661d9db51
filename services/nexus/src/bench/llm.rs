//! `nexus bench llm`: what stands between a run and its model. What a call takes more through a run
//! than made directly, and with two endpoints to choose from; how many answers can come in at once,
//! and what each holds in memory; how fast fragments reach a listener; what the content filter reads.
//!
//! Always on a platform of its own, since it needs models that are slow or fast by order.

use super::direct;
use super::error::BenchError;
use super::filter_rate;
use super::frame::{self, say};
use super::load::{Load, Sample, Via, all_completed};
use super::model_server::{MODEL, OwnModelServer};
use super::observe::Observer;
use super::platform::Platform;
use super::proc::Cpu;
use super::report::Part;
use super::report::llm::{Added, LlmReport};
use super::stats::Samples;
use super::{streams, summary};
use nexus_events::Tenant;

const WARM_UP_CALLS: usize = 20;
/// A model that two providers serve.
const ROUTED: &str = "bench-routed";

/// Model calls: what a run adds, streams held at once, fragments a second, the content filter
#[derive(Debug, clap::Args)]
pub(crate) struct LlmArgs {
    /// Calls of the first phase, one at a time; as many again with two endpoints
    #[arg(long, value_name = "N", default_value_t = 200)]
    calls: usize,
    /// How many streams are held open at once, one phase after another
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [100, 1000],
          value_parser = clap::value_parser!(u16).range(1..=2000))]
    streams: Vec<u16>,
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &LlmArgs) -> Result<Part, BenchError> {
    say("the content filter");
    let filter = filter_rate::measure()?;
    let scripted = OwnModelServer::scripted().await?;
    let model = OwnModelServer::start().await?;
    let config = configuration(&model.base_url, &scripted.base_url);
    say("starting the platform");
    let platform = Platform::configured(model, &config).await?;
    let measure = async |platform: &Platform| {
        let tenants: Vec<Tenant> = "bench".parse().into_iter().collect();
        say("calls without the platform");
        let direct = direct_calls(platform).await?;
        say("one call at a time");
        let added = added(args.calls, platform, &tenants, &direct).await?;
        let held = streams::held(&args.streams, platform, &tenants, &scripted).await?;
        let fragments = streams::fragments(platform, &tenants, &scripted).await?;
        Ok(LlmReport {
            added,
            held,
            fragments,
            filter,
        })
    };
    let report = frame::measured(platform, measure).await?;
    Ok(report.part())
}

fn configuration(instant: &str, scripted: &str) -> String {
    let routed = |name: &str| {
        format!(
            "[[models.providers]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{instant}\"\n\
             [[models.providers.models]]\nname = \"{ROUTED}\"\nwire_name = \"{MODEL}\"\n"
        )
    };
    format!(
        "[models]\nlocal = false\n{}{}{}",
        routed("left"),
        routed("right"),
        streams::configuration(scripted)
    )
}

async fn direct_calls(platform: &Platform) -> Result<direct::Direct, BenchError> {
    let base_url = platform.model.as_ref().map(|model| model.base_url.as_str());
    direct::measure(base_url.unwrap_or_default(), MODEL).await
}

/// Calls of either model in turn, so that what else the machine does befalls both.
async fn added(
    calls: usize,
    platform: &Platform,
    tenants: &[Tenant],
    direct: &direct::Direct,
) -> Result<Added, BenchError> {
    let (observer, _listening) = Observer::listen(&platform.bus, tenants, true).await?;
    let (bus, tenants) = (platform.bus.clone(), tenants.to_vec());
    let load = Load::new(bus, observer, tenants, Via::Bus, &platform.url)?;
    let (mut plain, mut routed): (Vec<Sample>, Vec<Sample>) = (vec![], vec![]);
    let mut before = Cpu::of_tree(platform.pid);
    for turn in 0..WARM_UP_CALLS + calls.max(1) {
        if turn == WARM_UP_CALLS {
            before = Cpu::of_tree(platform.pid);
            plain.clear();
            routed.clear();
        }
        plain.push(load.one(turn).await?);
        routed.push(load.one_of(turn, Some(ROUTED)).await?);
    }
    let used = Cpu::of_tree(platform.pid).since(&before);
    let all = (plain.len() + routed.len()) as u64;
    all_completed(&plain)?;
    all_completed(&routed)?;
    let none = Samples::default();
    let (one, two) = (
        summary::alone(&plain, &none, Some(direct)),
        summary::alone(&routed, &none, Some(direct)),
    );
    let each = |took: std::time::Duration| took.as_secs_f64() * 1e6 / all.max(1) as f64;
    Ok(Added {
        direct_call: direct.whole.quantiles(),
        direct_first_piece: direct.first_piece.quantiles(),
        call: one.model_call_added,
        first_piece: one.first_piece_added,
        routed_call: two.model_call_added,
        cpu_us_per_run: used
            .into_iter()
            .map(|(name, cpu)| (name, each(cpu)))
            .collect(),
    })
}
