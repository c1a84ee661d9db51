//! Commands of WASI preview 1: JSON on standard input, JSON on standard output. Python is one.

use wasmtime::{Engine, InstancePre, Linker, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use crate::component::{Answer, size};
use crate::host::{Guarded, wasi};
use crate::load::LoadError;
use crate::output::Sink;

/// A command that is ready to be instantiated.
pub(crate) struct Command {
    pre: InstancePre<Guarded<WasiP1Ctx>>,
}

pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guarded<WasiP1Ctx>>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |data: &mut Guarded<WasiP1Ctx>| &mut data.inner)?;
    Ok(linker)
}

impl Command {
    pub(crate) fn compile(
        engine: &Engine,
        linker: &Linker<Guarded<WasiP1Ctx>>,
        bytes: &[u8],
    ) -> Result<Self, LoadError> {
        let module = Module::from_binary(engine, bytes)
            .map_err(|error| LoadError::Malformed(format!("{error:#}")))?;
        let start = module
            .get_export("_start")
            .and_then(|export| export.func().cloned());
        if start.is_none_or(|start| start.params().len() + start.results().len() > 0) {
            let why = "it is a plain module that does not export `_start`, as a command does";
            return Err(LoadError::NotATool(why.to_owned()));
        }
        let pre = (linker.instantiate_pre(&module))
            .map_err(|error| LoadError::NotATool(format!("{error:#}")))?;
        Ok(Self { pre })
    }

    /// Runs it to its end; what it wrote is in the sink that its context was made with. The error is
    /// the code that it ended with.
    pub(crate) async fn run(
        &self,
        mut store: Store<Guarded<WasiP1Ctx>>,
    ) -> wasmtime::Result<Result<(), i32>> {
        let instance = self.pre.instantiate_async(&mut store).await?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        match start.call_async(&mut store, ()).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(0)) => Ok(Ok(())),
                Some(I32Exit(code)) => Ok(Err(*code)),
                None => Err(error),
            },
        }
    }

    pub(crate) fn code_bytes(&self) -> u64 {
        size(&self.pre.module().image_range())
    }
}

/// What a command finds: its input, and nothing else.
pub(crate) fn context(arguments: &[&str], input: String, output: &Sink, log: &Sink) -> WasiP1Ctx {
    let mut wasi = wasi(log);
    wasi.args(arguments)
        .stdin(MemoryInputPipe::new(input))
        .stdout(output.clone());
    wasi.build_p1()
}

/// What a command wrote, as the answer that a component would have given.
pub(crate) fn answer(ended: Result<(), i32>, output: &Sink) -> Answer {
    match ended {
        Ok(()) => {
            String::from_utf8(output.take()).map_err(|_| "it wrote what is not UTF-8".to_owned())
        }
        Err(code) => Err(format!("it ended with code {code}")),
    }
}
