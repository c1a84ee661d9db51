//! Compiled guests: made once, kept in memory while there is room, and on disk by wasmtime.
//!
//! Wasmtime's own cache reads code back without `unsafe` on our side, at the price of unpacking and
//! copying it. Mapping our own files would save some ten milliseconds at the first use of Python.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hashlink::LinkedHashMap;
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::command::Command;
use crate::component::Tool;
use crate::config::SandboxConfig;
use crate::host::{self, Guarded, Host};
use crate::inspect::{self, Form};
use crate::javascript::Interpreter;
use crate::load::{Guest, LoadError};
use crate::slice::Threads;
use crate::ticker::Ticker;
use crate::{command, engine, python};

/// The largest source.
const MAX_SOURCE: usize = 1 << 20;
/// How many guests are kept, however small.
const MAX_KEPT: usize = 1024;

/// A guest that is ready to be called.
pub struct Module {
    pub(crate) core: Arc<Core>,
    pub(crate) program: Program,
    digest: [u8; 32],
}

impl Module {
    /// The digest of what it was loaded from, in hex. Its kind is part of it.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(self.digest)
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

pub(crate) enum Program {
    Component(Tool),
    Command(Command),
    JavaScript {
        interpreter: Arc<Interpreter>,
        source: String,
    },
    Python {
        interpreter: Arc<Command>,
        source: String,
    },
}

impl Program {
    /// Memory that it alone takes, in bytes.
    fn weight(&self) -> u64 {
        match self {
            Self::Component(tool) => tool.code_bytes(),
            Self::Command(command) => command.code_bytes(),
            Self::JavaScript { source, .. } | Self::Python { source, .. } => source.len() as u64,
        }
    }
}

/// The engine and all that belongs to it, made when the first guest is loaded.
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) threads: Threads,
    components: wasmtime::component::Linker<Guarded<Host>>,
    commands: wasmtime::Linker<Guarded<wasmtime_wasi::p1::WasiP1Ctx>>,
    python: Arc<OnceLock<PathBuf>>,
    interpreter: Mutex<Interpreters>,
}

#[derive(Default)]
struct Interpreters {
    javascript: Option<Arc<Interpreter>>,
    python: Option<Arc<Command>>,
}

impl Core {
    pub(crate) fn start(config: &SandboxConfig) -> wasmtime::Result<Self> {
        let engine = engine::make(config)?;
        Ok(Self {
            ticker: Ticker::start(&engine)?,
            threads: Threads::start(config.threads)?,
            components: host::linker(&engine)?,
            commands: command::linker(&engine)?,
            python: Arc::clone(&config.python),
            interpreter: Mutex::default(),
            engine,
        })
    }

    /// Compiles a guest. Takes long: for threads that may block.
    pub(crate) fn compile(
        self: Arc<Self>,
        guest: Guest,
        digest: [u8; 32],
    ) -> Result<Arc<Module>, LoadError> {
        let program = self.program(guest)?;
        Ok(Arc::new(Module {
            core: self,
            program,
            digest,
        }))
    }

    fn program(&self, guest: Guest) -> Result<Program, LoadError> {
        match guest {
            Guest::Wasm(bytes) => {
                let form = inspect::form(&bytes)?;
                inspect::check(&bytes)?;
                match form {
                    Form::Component => Tool::compile(&self.engine, &self.components, &bytes)
                        .map(Program::Component),
                    Form::Module => {
                        Command::compile(&self.engine, &self.commands, &bytes).map(Program::Command)
                    }
                }
            }
            Guest::JavaScript(source) => Ok(Program::JavaScript {
                interpreter: self.javascript()?,
                source: short_enough(source)?,
            }),
            Guest::Python(source) => Ok(Program::Python {
                interpreter: self.python()?,
                source: short_enough(source)?,
            }),
        }
    }

    /// The lock is held while it compiles, so that it is compiled once.
    fn javascript(&self) -> Result<Arc<Interpreter>, LoadError> {
        let slot = &mut lock(&self.interpreter).javascript;
        if let Some(there) = slot {
            return Ok(Arc::clone(there));
        }
        let made = Arc::new(Interpreter::compile(&self.engine, &self.components)?);
        Ok(Arc::clone(slot.insert(made)))
    }

    fn python(&self) -> Result<Arc<Command>, LoadError> {
        let path = self
            .python
            .get()
            .ok_or(LoadError::NoInterpreter("Python"))?;
        let slot = &mut lock(&self.interpreter).python;
        if let Some(there) = slot {
            return Ok(Arc::clone(there));
        }
        let made = Arc::new(python::compile(&self.engine, &self.commands, path)?);
        Ok(Arc::clone(slot.insert(made)))
    }
}

/// Modules that were loaded, the ones used last at the end. It is the sandbox's and not the core's,
/// which lives as long as any module of it.
pub(crate) struct Shelf {
    most: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    modules: LinkedHashMap<[u8; 32], Arc<Module>>,
    weight: u64,
}

impl Shelf {
    /// Room for so many bytes of code.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, digest: &[u8; 32]) -> Option<Arc<Module>> {
        lock(&self.kept)
            .modules
            .to_back(digest)
            .map(|module| Arc::clone(module))
    }

    pub(crate) fn put(&self, module: Arc<Module>) {
        let kept = &mut *lock(&self.kept);
        kept.weight = kept.weight.saturating_add(module.program.weight());
        if let Some(before) = kept.modules.insert(module.digest, module) {
            kept.weight = kept.weight.saturating_sub(before.program.weight());
        }
        // Whoever still calls one that goes keeps it until then.
        while kept.modules.len() > 1 && (kept.weight > self.most || kept.modules.len() > MAX_KEPT) {
            let Some((_, oldest)) = kept.modules.pop_front() else {
                return;
            };
            kept.weight = kept.weight.saturating_sub(oldest.program.weight());
        }
    }
}

pub(crate) fn digest(guest: &Guest) -> [u8; 32] {
    let hash = Sha256::new().chain_update(guest.tag());
    hash.chain_update(guest.bytes()).finalize().into()
}

fn short_enough(source: String) -> Result<String, LoadError> {
    if source.len() > MAX_SOURCE {
        return Err(LoadError::TooLarge {
            what: "bytes of source",
            most: MAX_SOURCE as u64,
        });
    }
    Ok(source)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
