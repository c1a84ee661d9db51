//! What somebody hands over as WebAssembly: as it is, or grown into a valid module from the same
//! bytes, with or without an export by the name that commands have. What is let in is called too. It
//! is refused or it ends, in time, and the next one finds the sandbox as it was.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use nexus_sandbox::{Call, CallLimits, Guest, Sandbox, SandboxConfig};
use tokio::runtime::{Builder, Runtime};
use wasm_smith::{Config, Module};

/// Of one call; far more than a call of its limits takes, however busy the machine is.
const LATE: Duration = Duration::from_secs(10);

static STAND: LazyLock<(Runtime, Sandbox)> = LazyLock::new(|| {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().thread_name("call");
    let runtime = runtime.build();
    let cache = std::env::temp_dir().join(format!("nexus-fuzz-{}", std::process::id()));
    let config = SandboxConfig {
        max_calls: 4,
        max_memory: 64 << 20,
        ..SandboxConfig::new(cache)
    };
    (
        runtime.expect("a runtime"),
        Sandbox::new(config).expect("a sandbox"),
    )
});

/// A valid module from bytes that need not be one.
fn grown(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Unstructured::new(bytes);
    let config = Config {
        exports: Some(wat_exports(bool::arbitrary(&mut bytes).ok()?)),
        max_memory32_bytes: 1 << 32,
        ..Config::arbitrary(&mut bytes).ok()?
    };
    Some(Module::new(config, &mut bytes).ok()?.to_bytes())
}

/// A module whose exports the grown one must have: a command's, or others.
fn wat_exports(command: bool) -> Vec<u8> {
    const COMMAND: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
        \x07\x13\x02\x06_start\0\0\x06memory\x02\0\x0a\x04\x01\x02\0\x0b";
    const OTHER: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\
        \x07\x08\x01\x04call\0\0\x0a\x04\x01\x02\0\x0b";
    if command { COMMAND } else { OTHER }.to_vec()
}

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    let bytes = match how % 2 {
        0 => rest.to_vec(),
        _ => match grown(rest) {
            Some(bytes) => bytes,
            None => return,
        },
    };
    let (runtime, sandbox) = &*STAND;
    let call = Call {
        input: r#"{"a": 1}"#.to_owned(),
        limits: CallLimits {
            cpu: Duration::from_millis(20),
            wall: Duration::from_secs(1),
            memory: 16 << 20,
            ..CallLimits::default()
        },
        ..Call::default()
    };
    let began = Instant::now();
    runtime.block_on(async {
        if let Ok(module) = sandbox.load(Guest::Wasm(bytes)).await {
            let _ = sandbox.call(&Arc::clone(&module), call).await;
        }
    });
    assert!(began.elapsed() < LATE, "it took {:?}", began.elapsed());
});
