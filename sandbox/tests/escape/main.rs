//! Attempts to get out of the sandbox, or to hurt the host from inside it: each row says what it gets.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod components;
mod modules;
mod scripts;
#[path = "../common/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use nexus_sandbox::{Call, Guest, HttpBroker};
use serde_json::{Value, json};
use support::{call, load, sandbox};
use tokio::task::JoinSet;

/// What an attempt gets.
#[derive(Clone, Debug)]
enum Gets {
    /// It is not even loaded.
    Refused(&'static str),
    /// The call ends with this code.
    Ends(&'static str),
    /// Nothing but its own result, which shows that there was nothing to get.
    Only(Value),
}

/// One row.
#[derive(Clone)]
struct Attempt {
    name: &'static str,
    guest: Guest,
    gets: Gets,
    call: Call,
}

impl Attempt {
    fn new(name: &'static str, guest: Guest, gets: Gets) -> Self {
        let mut call = call("null");
        // Only an attempt on the processor's time is to be stopped by it, however busy the machine.
        if !matches!(gets, Gets::Ends("cpu_exceeded")) {
            call.limits.cpu = Duration::from_secs(2);
        }
        Self {
            name,
            guest,
            gets,
            call,
        }
    }

    /// For those who wait and use no processor time.
    fn hurried(mut self) -> Self {
        self.call.limits.wall = Duration::from_millis(400);
        self
    }

    fn with_network(mut self, network: impl HttpBroker + 'static) -> Self {
        self.call.network = Some(Arc::new(network));
        self
    }

    /// What is wrong with what it got, if anything.
    async fn fault(self) -> Option<String> {
        let module = match sandbox().await.load(self.guest).await {
            Ok(module) => module,
            Err(error) => {
                return match self.gets {
                    Gets::Refused(code) if code == error.code() => None,
                    gets => Some(format!("{}: {gets:?}, but refused: {error:?}", self.name)),
                };
            }
        };
        let got = sandbox().await.call(&module, self.call).await;
        match (&self.gets, &got) {
            (Gets::Ends(code), Err(error)) if *code == error.code() => None,
            (Gets::Only(value), Ok(output)) if *value == output.value => None,
            (gets, _) => Some(format!("{}: {gets:?}, but got {got:?}", self.name)),
        }
    }
}

fn attempts() -> Vec<Attempt> {
    [
        modules::attempts(),
        components::attempts(),
        scripts::attempts(),
    ]
    .concat()
}

/// Runs all, some at the same time, and says what went wrong.
async fn run(attempts: Vec<Attempt>) -> Vec<String> {
    let (mut running, mut faults) = (JoinSet::new(), Vec::new());
    for attempt in attempts {
        if running.len() >= 4 {
            faults.extend(running.join_next().await.and_then(Result::unwrap));
        }
        running.spawn(attempt.fault());
    }
    faults.extend(running.join_all().await.into_iter().flatten());
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_gets_anywhere() {
    assert!(attempts().len() >= 60, "{}", attempts().len());
    let faults = run(attempts()).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // A second time, compiled already: what the host holds on to would grow now.
    let before = resident_bytes();
    let faults = run(attempts()).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "the host has grown by {} KB", grown >> 10);

    let free = sandbox().await.free_places();
    assert_eq!(free, support::config().await.max_calls as usize);
    let good = load(support::javascript("input.a + 1")).await;
    let output = sandbox().await.call(&good, call("{\"a\": 1}")).await;
    assert_eq!(output.unwrap().value, json!(2));
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}
