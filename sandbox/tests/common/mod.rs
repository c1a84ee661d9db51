//! A sandbox that the tests of one program share, with compiled code that all runs share.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use nexus_devstack::{Cache, Progress, find_python_wasi};
use nexus_sandbox::{Call, CallLimits, Guest, Module, Sandbox, SandboxConfig};
use tokio::sync::OnceCell;

/// One for all tests of a program: they are called at the same time, like tools.
pub(crate) async fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceCell<Sandbox> = OnceCell::const_new();
    let make = || async { Sandbox::new(config().await).unwrap() };
    SANDBOX.get_or_init(make).await
}

/// With Python, fetched if need be.
pub(crate) async fn config() -> SandboxConfig {
    let config = SandboxConfig::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/sandbox-code"));
    let cache = Cache::discover().unwrap();
    let python = find_python_wasi(&cache, &Progress::log()).await.unwrap();
    config.python.set(python).unwrap();
    config
}

/// Short times, little memory.
pub(crate) fn call(input: &str) -> Call {
    Call {
        input: input.to_owned(),
        limits: CallLimits {
            cpu: Duration::from_millis(200),
            wall: Duration::from_secs(20),
            memory: 64 << 20,
            ..CallLimits::default()
        },
        ..Call::default()
    }
}

pub(crate) async fn load(guest: Guest) -> Arc<Module> {
    sandbox().await.load(guest).await.unwrap()
}

pub(crate) fn javascript(source: &str) -> Guest {
    Guest::JavaScript(source.to_owned())
}

pub(crate) fn python(source: &str) -> Guest {
    Guest::Python(source.to_owned())
}

pub(crate) fn wat(text: &str) -> Guest {
    match wat::parse_str(text) {
        Ok(bytes) => Guest::Wasm(bytes),
        Err(error) => panic!("{error}: {text}"),
    }
}
