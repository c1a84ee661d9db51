//! Prints how fast calls are: `cargo run --release -p nexus-sandbox --example measure CACHE [PYTHON]`,
//! with a directory for compiled code and CPython for WASI.

use std::error::Error;
use std::time::Duration;

use nexus_sandbox::measure::{self, ENDLESS, FIB_COMPONENT, SMALL_SOURCE, Timings};
use nexus_sandbox::{Call, Guest, Sandbox, SandboxConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let cache = arguments
        .next()
        .ok_or("name a directory for compiled code")?;
    let config = SandboxConfig::new(cache);
    if let Some(python) = arguments.next() {
        let _ = config.python.set(python.into());
    }

    let mut guests = vec![
        ("component", Guest::Wasm(FIB_COMPONENT.to_vec()), 10_000),
        (
            "JavaScript",
            Guest::JavaScript(SMALL_SOURCE.to_owned()),
            2_000,
        ),
    ];
    if config.python.get().is_some() {
        guests.push(("Python", Guest::Python(SMALL_SOURCE.to_owned()), 100));
    }
    let call = Call {
        input: "{\"n\": 1}".to_owned(),
        ..Call::default()
    };
    println!("at the start {} MB resident", resident_mb());
    for (name, guest, _) in &guests {
        for at in ["first", "again"] {
            let cold = measure::cold(&config, guest.clone(), call.clone()).await?;
            println!(
                "{name}, {at}: loaded in {:?}, first call {:?}",
                cold.load, cold.call
            );
        }
    }
    let sandbox = Sandbox::new(config)?;
    for (name, guest, count) in guests {
        let module = sandbox.load(guest).await?;
        print(
            name,
            &measure::calls(&sandbox, &module, &call, count).await?,
        );
    }
    let endless = sandbox.load(Guest::JavaScript(ENDLESS.to_owned())).await?;
    let late = measure::stops(&sandbox, &endless, Duration::from_millis(100), 20).await?;
    print("late after 100 ms of an endless loop", &late);
    println!("at the end {} MB resident", resident_mb());
    Ok(())
}

fn print(what: &str, timings: &Timings) {
    println!(
        "{what}: p50 {:?}, p99 {:?}, {:.0} a second, {} KB",
        timings.percentile(50),
        timings.percentile(99),
        timings.per_second(),
        timings.peak_memory >> 10
    );
}

fn resident_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4 / 1024
}
