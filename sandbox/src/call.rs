//! One call: a fresh store, a guest in it, and everything that may end it.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime::{Engine, PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::ResourceTableError;

use crate::broker::HttpBroker;
use crate::command::{self, Command};
use crate::component::Answer;
use crate::config::{self, ConfigError, SandboxConfig};
use crate::cpu::{Meter, Metered};
use crate::error::{CallError, Fault, Traces};
use crate::host::{self, Frame, Host};
use crate::limits::CallLimits;
use crate::load::{Guest, LoadError};
use crate::modules::{self, Core, Module, Program, Shelf};
use crate::output::Sink;
use crate::python;
use crate::workspace::Workspace;

/// How many guests are compiled at once.
const COMPILERS: usize = 2;
/// Larger guests are hashed where it does not hold up the caller's thread.
const QUICKLY_HASHED: usize = 64 << 10;
/// Of a trap's description.
const MAX_MESSAGE: usize = 1000;

/// Runs guests. Making one costs nothing: the engine comes with the first guest.
pub struct Sandbox {
    config: SandboxConfig,
    core: Arc<OnceLock<Arc<Core>>>,
    places: Arc<Semaphore>,
    compilers: Arc<Semaphore>,
    kept: Arc<Shelf>,
}

/// What one call is given.
#[derive(Clone, Default)]
pub struct Call {
    /// JSON.
    pub input: String,
    /// What it may use.
    pub limits: CallLimits,
    /// A directory, for components.
    pub workspace: Option<Workspace>,
    /// Who performs its requests; without one they are refused.
    pub network: Option<Arc<dyn HttpBroker>>,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its result.
    pub value: serde_json::Value,
    /// What else is known of it.
    pub traces: Traces,
}

impl Sandbox {
    /// Checks the settings and makes the cache's directory.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(config: SandboxConfig) -> Result<Self, ConfigError> {
        config::prepare(&config)?;
        Ok(Self {
            places: Arc::new(Semaphore::new(config.max_calls as usize)),
            compilers: Arc::new(Semaphore::new(COMPILERS)),
            core: Arc::default(),
            kept: Arc::new(Shelf::new(config.max_code)),
            config,
        })
    }

    /// Checks and compiles a guest, or finds it compiled. The first Python takes long unless the
    /// cache on disk has the interpreter.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, guest: Guest) -> Result<Arc<Module>, LoadError> {
        let failed = |error: String| LoadError::Sandbox(error);
        let (guest, digest) = if guest.bytes().len() > QUICKLY_HASHED {
            let hashing = tokio::task::spawn_blocking(move || {
                let digest = modules::digest(&guest);
                (guest, digest)
            });
            hashing.await.map_err(|error| failed(error.to_string()))?
        } else {
            let digest = modules::digest(&guest);
            (guest, digest)
        };
        if let Some(module) = self.kept.get(&digest) {
            return Ok(module);
        }
        let permit = (Arc::clone(&self.compilers).acquire_owned().await)
            .map_err(|error| failed(error.to_string()))?;
        let (core, config) = (Arc::clone(&self.core), self.config.clone());
        let kept = Arc::clone(&self.kept);
        let compiling = tokio::task::spawn_blocking(move || {
            // Held for as long as it compiles, whether anybody still waits or not.
            let _permit = permit;
            if let Some(module) = kept.get(&digest) {
                return Ok(module);
            }
            let module = core_of(&core, &config)?.compile(guest, digest)?;
            kept.put(Arc::clone(&module));
            Ok(module)
        });
        compiling.await.map_err(|error| failed(error.to_string()))?
    }

    /// Calls a guest. Dropping the future breaks the call off.
    ///
    /// # Errors
    /// See [`Fault`]; whatever the guest does, it is one of these, within the call's limits.
    pub async fn call(&self, module: &Arc<Module>, call: Call) -> Result<Output, CallError> {
        if call.input.len() as u64 > call.limits.input {
            return Err(CallError::bare(Fault::InputExceeded));
        }
        let meter = Arc::new(Meter::new(call.limits.cpu));
        let log = Sink::tail(call.limits.log);
        let (wall, most) = (call.limits.wall, call.limits.output);
        let frame = Frame {
            call,
            meter: Arc::clone(&meter),
            log: log.clone(),
            max_memory: self.config.max_memory,
        };
        let ended = timeout(wall, async {
            let permit = (Arc::clone(&self.places).acquire_owned().await)
                .map_err(|error| Fault::Sandbox(error.to_string()))?;
            let (module, meter) = (Arc::clone(module), Arc::clone(&meter));
            let core = Arc::clone(&module.core);
            core.threads
                .run(async move {
                    let _held = (permit, module.core.ticker.while_calling());
                    Metered::new(run(&module, frame), &meter).await
                })
                .await?
        });
        let ended = ended.await.unwrap_or(Err(Fault::Timeout));
        let traces = Traces {
            printed: String::from_utf8_lossy(&log.take()).into_owned(),
            cpu: meter.used(),
            peak_memory: meter.peak_memory(),
        };
        match ended.and_then(|answer| value(answer, most)) {
            Ok(value) => Ok(Output { value, traces }),
            Err(fault) => Err(CallError { fault, traces }),
        }
    }

    /// How many calls may begin at once now.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }
}

fn core_of(cell: &OnceLock<Arc<Core>>, config: &SandboxConfig) -> Result<Arc<Core>, LoadError> {
    if let Some(core) = cell.get() {
        return Ok(Arc::clone(core));
    }
    let core = Core::start(config)
        .map_err(|error| LoadError::Sandbox(format!("the engine does not start: {error:#}")))?;
    // Where two start at once, one engine is thrown away unused.
    Ok(Arc::clone(cell.get_or_init(|| Arc::new(core))))
}

async fn run(module: &Module, frame: Frame) -> Result<Answer, Fault> {
    let meter = Arc::clone(&frame.meter);
    let engine = &module.core.engine;
    let ended = match &module.program {
        Program::Component(tool) => {
            let store = host::store(engine, &frame, Host::new(&frame)?);
            let ended = tool.run(store, &frame.call.input).await;
            files_fit(&frame)?;
            ended
        }
        Program::JavaScript {
            interpreter,
            source,
        } => {
            without_files(&frame.call)?;
            let store = host::store(engine, &frame, Host::new(&frame)?);
            interpreter.run(store, source, &frame.call.input).await
        }
        Program::Command(command) => {
            without_files(&frame.call)?;
            run_command(engine, command, frame).await
        }
        Program::Python {
            interpreter,
            source,
        } => {
            without_files(&frame.call)?;
            run_python(engine, interpreter, source, frame).await
        }
    };
    ended.map_err(|error| meter.fault().unwrap_or_else(|| fault_of(&error)))
}

async fn run_command(
    engine: &Engine,
    command: &Command,
    mut frame: Frame,
) -> wasmtime::Result<Answer> {
    let output = Sink::whole(frame.call.limits.output, Arc::clone(&frame.meter));
    let input = std::mem::take(&mut frame.call.input);
    let context = command::context(&["tool"], input, &output, &frame.log);
    let ended = command.run(host::store(engine, &frame, context)).await?;
    Ok(command::answer(ended, &output))
}

async fn run_python(
    engine: &Engine,
    interpreter: &Command,
    source: &str,
    frame: Frame,
) -> wasmtime::Result<Answer> {
    let output = Sink::whole(frame.call.limits.output, Arc::clone(&frame.meter));
    let input = python::input(source, &frame.call.input);
    let context = command::context(python::ARGUMENTS, input, &output, &frame.log);
    match interpreter.run(host::store(engine, &frame, context)).await {
        Ok(ended) => python::answer(ended, &output, &frame.log),
        // What was printed until then helps to understand.
        Err(error) => frame.log.push(&output.take()).and(Err(error)),
    }
}

fn without_files(call: &Call) -> Result<(), Fault> {
    match call.workspace {
        None => Ok(()),
        Some(_) => Err(Fault::Unsupported("only components can be given files")),
    }
}

fn files_fit(frame: &Frame) -> Result<(), Fault> {
    let workspace = frame.call.workspace.as_ref();
    let quota = workspace.and_then(|place| Some((&place.dir, place.quota?)));
    match quota {
        Some((dir, quota)) if quota.is_exceeded(dir) => {
            Err(frame.meter.fault().unwrap_or(Fault::FilesExceeded))
        }
        _ => Ok(()),
    }
}

fn fault_of(error: &wasmtime::Error) -> Fault {
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return Fault::StackOverflow;
    }
    let said = error.root_cause().to_string();
    let said: String = said.chars().take(MAX_MESSAGE).collect();
    let full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    // Of the pool, and of a store's handles: wasmtime has no types for these.
    let limit = said.contains("exceeds the limit") || said.contains("limit exceeded");
    if full || limit || error.is::<PoolConcurrencyLimitError>() {
        return Fault::ResourcesExceeded(said);
    }
    // Nor for this: the guest made the host copy too much at once.
    if said.contains("fuel allocated for hostcalls") {
        return Fault::OutputExceeded;
    }
    Fault::Trap(said)
}

fn value(answer: Answer, most: u64) -> Result<serde_json::Value, Fault> {
    let fits = |text: String| match text.len() as u64 > most {
        true => Err(Fault::OutputExceeded),
        false => Ok(text),
    };
    match answer {
        Ok(text) => {
            serde_json::from_str(&fits(text)?).map_err(|error| Fault::BadOutput(error.to_string()))
        }
        Err(text) => Err(Fault::Tool(fits(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_is_json_and_small_enough() {
        assert!(value(Ok("{\"a\": 1}".to_owned()), 8).is_ok());
        assert_eq!(
            value(Ok("[1, 2, 3]".to_owned()), 8),
            Err(Fault::OutputExceeded)
        );
        assert_eq!(
            value(Err("no".to_owned()), 8),
            Err(Fault::Tool("no".to_owned()))
        );
        let deep = "[".repeat(10_000);
        assert!(matches!(value(Ok(deep), 1 << 20), Err(Fault::BadOutput(_))));
    }

    #[test]
    fn limits_have_sense_by_default() {
        let limits = CallLimits::default();
        assert!(limits.cpu < limits.wall && limits.wall < Duration::from_secs(60));
    }
}
