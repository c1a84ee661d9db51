//! Components: tools with the interface of `wit/tool.wit`.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime::{AsContextMut, Engine, Store};

use crate::host::{Guarded, Host, ToolPre};
use crate::load::LoadError;

/// A component that is ready to be instantiated.
pub(crate) struct Tool {
    pre: InstancePre<Guarded<Host>>,
    call: ComponentExportIndex,
}

/// What a guest's function gave: its result or its error, both its own text.
pub(crate) type Answer = Result<String, String>;

impl Tool {
    pub(crate) fn compile(
        engine: &Engine,
        linker: &wasmtime::component::Linker<Guarded<Host>>,
        bytes: &[u8],
    ) -> Result<Self, LoadError> {
        let component = Component::from_binary(engine, bytes)
            .map_err(|error| LoadError::Malformed(format!("{error:#}")))?;
        let not_a_tool = |error: wasmtime::Error| LoadError::NotATool(format!("{error:#}"));
        let pre = linker.instantiate_pre(&component).map_err(not_a_tool)?;
        // It checks the types of what is exported, which otherwise the first call would do.
        ToolPre::new(pre.clone()).map_err(not_a_tool)?;
        let call = export(&component, "call")?;
        Ok(Self { pre, call })
    }

    pub(crate) async fn run(
        &self,
        mut store: Store<Guarded<Host>>,
        input: &str,
    ) -> wasmtime::Result<Answer> {
        let instance = self.pre.instantiate_async(&mut store).await?;
        let call =
            instance.get_typed_func::<(&str,), (Answer,)>(store.as_context_mut(), &self.call)?;
        Ok(call.call_async(&mut store, (input,)).await?.0)
    }

    pub(crate) fn code_bytes(&self) -> u64 {
        size(&self.pre.component().image_range())
    }
}

pub(crate) fn export(component: &Component, name: &str) -> Result<ComponentExportIndex, LoadError> {
    component
        .get_export_index(None, name)
        .ok_or_else(|| LoadError::NotATool(format!("it does not export `{name}`")))
}

pub(crate) fn size(image: &std::ops::Range<*const u8>) -> u64 {
    (image.end.addr() as u64).saturating_sub(image.start.addr() as u64)
}
