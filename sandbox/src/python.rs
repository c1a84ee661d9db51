//! Python: CPython compiled for WASI, started anew for each call with `guests/python/runner.py`.
//!
//! A snapshot of a started interpreter was the alternative. The one that can be had is large and
//! hardly faster, and every call would share its seed of hashes and random numbers.

use std::path::Path;

use wasmtime::{Engine, Linker};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::command::Command;
use crate::component::Answer;
use crate::host::Guarded;
use crate::load::LoadError;
use crate::output::Sink;

const RUNNER: &str = include_str!("../guests/python/runner.py");

/// Isolated, without `site`, and without writing what it compiled.
pub(crate) const ARGUMENTS: &[&str] = &["python", "-I", "-S", "-B", "-c", RUNNER];

/// Comes between what is printed and the answer.
const SEPARATOR: u8 = 0x1e;

/// Reads and compiles the interpreter; from the cache that takes a tenth of a second.
pub(crate) fn compile(
    engine: &Engine,
    linker: &Linker<Guarded<WasiP1Ctx>>,
    path: &Path,
) -> Result<Command, LoadError> {
    let failed = |why: String| LoadError::Sandbox(format!("Python: {why}"));
    let bytes = std::fs::read(path)
        .map_err(|error| failed(format!("{} cannot be read: {error}", path.display())))?;
    Command::compile(engine, linker, &bytes).map_err(|error| failed(error.to_string()))
}

/// What the runner reads.
pub(crate) fn input(source: &str, input: &str) -> String {
    let source = serde_json::Value::from(source);
    format!("[{source}, {input}]")
}

/// What the runner wrote, taken apart: what was printed goes to the log.
pub(crate) fn answer(
    ended: Result<(), i32>,
    output: &Sink,
    log: &Sink,
) -> wasmtime::Result<Answer> {
    let written = output.take();
    let at = written.iter().rposition(|byte| *byte == SEPARATOR);
    let (printed, answer) = match at {
        Some(at) => written.split_at(at),
        None => (written.as_slice(), &[][..]),
    };
    log.push(printed)?;
    if let Err(code) = ended {
        return Ok(Err(format!("Python ended with code {code}")));
    }
    let answer = String::from_utf8_lossy(answer.get(1..).unwrap_or_default());
    Ok(
        match serde_json::from_str::<(bool, serde_json::Value)>(&answer) {
            Ok((true, value)) => Ok(value.to_string()),
            Ok((false, error)) => Err(error.as_str().unwrap_or_default().to_owned()),
            // The source ended the interpreter by itself (`os._exit`) before there was a result.
            Err(_) => Err("Python ended without a result".to_owned()),
        },
    )
}
