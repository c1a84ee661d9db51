//! `nexus bench tools`: what a call of sandboxed code takes, without the bus: a component, JavaScript
//! and Python, cold and warm, one after another and side by side, and how soon an endless loop ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_devstack::{Cache, Progress, find_python_wasi};
use nexus_sandbox::measure::{self, ENDLESS, FIB_COMPONENT, SMALL_SOURCE, Timings};
use nexus_sandbox::{Call, Guest, Module, Sandbox, SandboxConfig};

use super::error::BenchError;
use super::frame::say;
use super::proc;
use super::report::{Figure, Part, Unit};

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
}

/// One kind of guest.
#[derive(Debug)]
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
    memory_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Spread {
    p50: f64,
    p99: f64,
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: there is no figure.
pub(crate) async fn part(args: &ToolsArgs) -> Result<Part, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Tools(error.to_string());
    let place = tempfile::tempdir().map_err(|error| failed(&error))?;
    let config = SandboxConfig {
        max_calls: args.concurrency.clamp(1, 256),
        ..SandboxConfig::new(place.path())
    };
    let mut guests = vec![
        (
            "component",
            Guest::Wasm(FIB_COMPONENT.to_vec()),
            CALLS,
            0.05,
        ),
        (
            "JavaScript",
            Guest::JavaScript(SMALL_SOURCE.to_owned()),
            CALLS,
            0.6,
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
            60.0,
        ));
    }
    let before = proc::memory_of_one(std::process::id());
    let about = "Calls of sandboxed code in this process, without the bus.";
    let mut part = Part::new("tools", about);
    for (guest, code, count, aim) in guests {
        say(guest);
        let row = row(&config, guest, code, count, args.concurrency).await?;
        row.add_to(&mut part, args.concurrency, aim);
    }
    let sandbox = Sandbox::new(config).map_err(|error| failed(&error))?;
    let endless = sandbox.load(Guest::JavaScript(ENDLESS.to_owned())).await;
    let endless = endless.map_err(|error| failed(&error))?;
    let late = measure::stops(&sandbox, &endless, LIMIT, LOOPS).await;
    let late = spread(&late.map_err(|error| failed(&error))?);
    let name = "an endless loop, stopped after its limit by the clock";
    part.plain(format!("{name}, p50"), late.p50, Unit::Ms);
    part.add(Figure::new(format!("{name}, p99"), late.p99, Unit::Ms).at_most(20.0));
    let after = proc::memory_of_one(std::process::id());
    part.plain("memory of this process before", before as f64, Unit::Bytes);
    part.plain("memory of this process after", after as f64, Unit::Bytes);
    Ok(part)
}

impl Row {
    fn add_to(&self, part: &mut Part, concurrency: u32, aim_ms: f64) {
        let mut add = |name: &str, value, unit| {
            part.plain(format!("{}: {name}", self.guest), value, unit);
        };
        add("compiled for the first time", self.compile_ms, Unit::Ms);
        add("loaded by a new process", self.load_ms, Unit::Ms);
        add("its first call", self.first_call_ms, Unit::Ms);
        add("warm call, p99", self.warm_ms.p99, Unit::Ms);
        add("calls a second", self.calls_per_second, Unit::PerSecond);
        let rate = self.side_by_side_per_second;
        add(
            &format!("calls a second, {concurrency} at once"),
            rate,
            Unit::PerSecond,
        );
        add(
            "linear memory a call",
            self.memory_bytes as f64,
            Unit::Bytes,
        );
        let name = format!("{}: warm call, p50", self.guest);
        part.add(Figure::new(name, self.warm_ms.p50, Unit::Ms).at_most(aim_ms));
    }
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
        memory_bytes: warm.peak_memory,
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

fn spread(timings: &Timings) -> Spread {
    Spread {
        p50: ms(timings.percentile(50)),
        p99: ms(timings.percentile(99)),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
