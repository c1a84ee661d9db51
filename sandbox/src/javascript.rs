//! JavaScript: one component with QuickJS in it (`guests/javascript`), which is given the source with
//! each call. A component for each tool was the alternative: megabytes of code each, and a compiler
//! in the host that makes them.

use std::hash::{BuildHasher, Hasher, RandomState};

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime::{AsContextMut, Engine, Store};

use crate::component::{Answer, export};
use crate::host::{Guarded, Host};
use crate::load::LoadError;

const RUNNER: &[u8] = include_bytes!("../guests/javascript/runner.wasm");

/// The interpreter, ready to be instantiated.
pub(crate) struct Interpreter {
    pre: InstancePre<Guarded<Host>>,
    run: ComponentExportIndex,
    settled: ComponentExportIndex,
}

impl Interpreter {
    pub(crate) fn compile(
        engine: &Engine,
        linker: &wasmtime::component::Linker<Guarded<Host>>,
    ) -> Result<Self, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::Sandbox(format!("JavaScript: {error:#}"));
        let component = Component::from_binary(engine, RUNNER).map_err(failed)?;
        Ok(Self {
            pre: linker.instantiate_pre(&component).map_err(failed)?,
            run: export(&component, "run")?,
            settled: export(&component, "settled")?,
        })
    }

    pub(crate) async fn run(
        &self,
        mut store: Store<Guarded<Host>>,
        source: &str,
        input: &str,
    ) -> wasmtime::Result<Answer> {
        let instance = self.pre.instantiate_async(&mut store).await?;
        let run = instance
            .get_typed_func::<(&str, &str, u32), (Started,)>(store.as_context_mut(), &self.run)?;
        let (started,) = run.call_async(&mut store, (source, input, seed())).await?;
        match started {
            Ok(Some(result)) => return Ok(Ok(result)),
            Err(error) => return Ok(Err(error)),
            Ok(None) => {}
        }
        let settled =
            instance.get_typed_func::<(), (Answer,)>(store.as_context_mut(), &self.settled)?;
        Ok(settled.call_async(&mut store, ()).await?.0)
    }
}

/// What running a source gives: its result, or none yet where that is a promise.
type Started = Result<Option<String>, String>;

/// The interpreter is a snapshot, whose random numbers would be the same in every call.
fn seed() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    u32::try_from(random >> 32).unwrap_or_default()
}
