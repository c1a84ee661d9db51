//! `nexus bench tools`: what a call of sandboxed code takes, without the bus: a component, JavaScript
//! and Python, cold and warm, one after another and side by side, and how soon an endless loop ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_devstack::{Cache, Progress, find_python_wasi};
use nexus_sandbox::measure::{self, ENDLESS, FIB_COMPONENT, SMALL_SOURCE, Timings};
use nexus_sandbox::{Call, Guest, Module, Sandbox, SandboxConfig};
use serde::Serialize;

use super::error::BenchError;
use super::machine::Machine;
use super::proc;
use crate::cli::print;

/// CPU time that an endless loop is given.
const LIMIT: Duration = Duration::from_millis(100);
const LOOPS: usize = 20;
/// Calls of one kind, one after another.
const CALLS: usize = 2_000;
const PYTHON_CALLS: usize = 50;

/// Calls of sandboxed code
#[derive(Debug, clap::Args)]
pub(crate) struct ToolsArgs {
    /// Calls side by side
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: u32,
    /// Leave Python out, which is fetched where it is not there
    #[arg(long)]
    without_python: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    concurrency: u32,
    guests: Vec<Row>,
    /// By the clock, after its limit of processor time was reached.
    endless_loop_stopped_after_ms: Spread,
    resident_mb_before: f64,
    resident_mb_after: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    guest: &'static str,
    /// Compiled for the first time.
    compile_ms: f64,
    /// By a process that has just started, from the cache on disk.
    load_ms: f64,
    first_call_ms: f64,
    warm_ms: Spread,
    calls_per_second: f64,
    side_by_side_per_second: f64,
    memory_kb: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
}

/// Measures and prints.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn run(args: ToolsArgs) -> Result<(), BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Tools(error.to_string());
    let place = tempfile::tempdir().map_err(|error| failed(&error))?;
    let config = SandboxConfig {
        max_calls: args.concurrency.clamp(1, 256),
        ..SandboxConfig::new(place.path())
    };
    let mut guests = vec![
        ("component (C)", Guest::Wasm(FIB_COMPONENT.to_vec()), CALLS),
        (
            "JavaScript",
            Guest::JavaScript(SMALL_SOURCE.to_owned()),
            CALLS,
        ),
    ];
    if !args.without_python {
        let cache = Cache::discover().map_err(|error| failed(&error))?;
        let progress = Progress::new(|line: &str| eprintln!("{line}"));
        let python = find_python_wasi(&cache, &progress).await;
        let _ = config.python.set(python.map_err(|error| failed(&error))?);
        guests.push((
            "Python",
            Guest::Python(SMALL_SOURCE.to_owned()),
            PYTHON_CALLS,
        ));
    }
    let before = resident_mb();
    let mut rows = vec![];
    for (guest, code, count) in guests {
        eprintln!("{guest} …");
        rows.push(row(&config, guest, code, count, args.concurrency).await?);
    }
    let sandbox = Sandbox::new(config).map_err(|error| failed(&error))?;
    let endless = sandbox.load(Guest::JavaScript(ENDLESS.to_owned())).await;
    let endless = endless.map_err(|error| failed(&error))?;
    let late = measure::stops(&sandbox, &endless, LIMIT, LOOPS).await;
    let report = Report {
        machine: Machine::here(),
        concurrency: args.concurrency,
        guests: rows,
        endless_loop_stopped_after_ms: spread(&late.map_err(|error| failed(&error))?),
        resident_mb_before: before,
        resident_mb_after: resident_mb(),
    };
    let text = match args.json {
        true => format!(
            "{}\n",
            serde_json::to_string_pretty(&report).unwrap_or_default()
        ),
        false => report.render(),
    };
    print::write(&text)?;
    Ok(())
}

async fn row(
    config: &SandboxConfig,
    guest: &'static str,
    code: Guest,
    count: usize,
    concurrency: u32,
) -> Result<Row, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Tools(error.to_string());
    let call = Call {
        input: "{\"n\": 1}".to_owned(),
        ..Call::default()
    };
    let first = measure::cold(config, code.clone(), call.clone()).await;
    let first = first.map_err(|error| failed(&error))?;
    let again = measure::cold(config, code.clone(), call.clone()).await;
    let again = again.map_err(|error| failed(&error))?;
    let sandbox = Sandbox::new(config.clone()).map_err(|error| failed(&error))?;
    let module = sandbox.load(code).await.map_err(|error| failed(&error))?;
    let warm = measure::calls(&sandbox, &module, &call, count).await;
    let warm = warm.map_err(|error| failed(&error))?;
    let sandbox = Arc::new(sandbox);
    Ok(Row {
        guest,
        compile_ms: ms(first.load),
        load_ms: ms(again.load),
        first_call_ms: ms(again.call),
        warm_ms: spread(&warm),
        calls_per_second: warm.per_second(),
        side_by_side_per_second: side_by_side(&sandbox, &module, &call, count, concurrency).await?,
        memory_kb: warm.peak_memory >> 10,
    })
}

/// Calls in a second with so many at once.
async fn side_by_side(
    sandbox: &Arc<Sandbox>,
    module: &Arc<Module>,
    call: &Call,
    count: usize,
    concurrency: u32,
) -> Result<f64, BenchError> {
    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let (sandbox, module, call) = (Arc::clone(sandbox), Arc::clone(module), call.clone());
        workers.spawn(async move {
            for _ in 0..count {
                sandbox.call(&module, call.clone()).await?;
            }
            Ok::<_, nexus_sandbox::CallError>(())
        });
    }
    while let Some(done) = workers.join_next().await {
        let done = done.map_err(|error| BenchError::Tools(error.to_string()))?;
        done.map_err(|error| BenchError::Tools(error.to_string()))?;
    }
    let calls = count as f64 * f64::from(concurrency);
    Ok(calls / began.elapsed().as_secs_f64().max(f64::EPSILON))
}

impl Report {
    fn render(&self) -> String {
        let mut text = format!(
            "{:<16}{:>11}{:>10}{:>10}{:>10}{:>10}{:>9}{:>13}{:>10}\n",
            "",
            "compile ms",
            "load ms",
            "first ms",
            "p50 ms",
            "p99 ms",
            "calls/s",
            format!("{} at once/s", self.concurrency),
            "memory KB",
        );
        for row in &self.guests {
            text.push_str(&format!(
                "{:<16}{:>11.0}{:>10.1}{:>10.2}{:>10.3}{:>10.3}{:>9.0}{:>13.0}{:>10}\n",
                row.guest,
                row.compile_ms,
                row.load_ms,
                row.first_call_ms,
                row.warm_ms.p50,
                row.warm_ms.p99,
                row.calls_per_second,
                row.side_by_side_per_second,
                row.memory_kb,
            ));
        }
        let late = &self.endless_loop_stopped_after_ms;
        text.push_str(&format!(
            "an endless loop is stopped {:.1} ms (p50), {:.1} ms (p99) after its limit, by the clock\n\
             resident: {:.0} MB before, {:.0} MB after\n",
            late.p50, late.p99, self.resident_mb_before, self.resident_mb_after,
        ));
        text
    }
}

fn spread(timings: &Timings) -> Spread {
    Spread {
        p50: ms(timings.percentile(50)),
        p99: ms(timings.percentile(99)),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn resident_mb() -> f64 {
    let bytes: u64 = proc::memory_of_tree(Some(std::process::id()))
        .values()
        .sum();
    bytes as f64 / f64::from(1 << 20)
}
