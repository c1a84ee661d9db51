//! Looks at a module before it is compiled: what it is, and whether it is too large or made to keep
//! the compiler busy. Compiling cannot be broken off, so what is let in bounds how long it takes.

use wasmparser::{BinaryReaderError, Parser, Payload, Validator, WasmFeatures};

use crate::load::LoadError;

/// Of one module, nested ones included.
const MAX_BYTES: usize = 32 << 20;
/// Code, of one function and of all.
const MAX_FUNCTION: usize = 256 << 10;
const MAX_CODE: usize = 24 << 20;
const MAX_FUNCTIONS: u64 = 100_000;
/// Locals are written in a few bytes and cost the compiler each: of one function, and of all.
const MAX_LOCALS: u64 = 10_000;
const MAX_ALL_LOCALS: u64 = 1_000_000;
/// Modules and components within a component, and its instances.
const MAX_PARTS: u64 = 200;

/// What a binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Component,
    Module,
}

/// Tells by the first bytes.
pub(crate) fn form(bytes: &[u8]) -> Result<Form, LoadError> {
    if Parser::is_component(bytes) {
        return Ok(Form::Component);
    }
    if Parser::is_core_wasm(bytes) {
        return Ok(Form::Module);
    }
    Err(LoadError::Malformed(
        "it does not begin as WebAssembly does (the binary form is needed)".to_owned(),
    ))
}

/// What guests may use. The engine can do more, for our interpreter: what is asynchronous has state
/// in the host that nothing here bounds. Threads, 64-bit memories and garbage collection are not in.
fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::COMPONENT_MODEL
}

/// Refuses what is malformed, what is not offered, and what would take too long to compile.
pub(crate) fn check(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MAX_BYTES {
        return Err(LoadError::TooLarge {
            what: "bytes",
            most: MAX_BYTES as u64,
        });
    }
    let mut seen = Seen::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        seen.add(&payload)?;
    }
    let mut validator = Validator::new_with_features(features());
    validator.validate_all(bytes).map_err(malformed)?;
    Ok(())
}

#[derive(Default)]
struct Seen {
    code: u64,
    functions: u64,
    locals: u64,
    parts: u64,
}

impl Seen {
    fn add(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        match payload {
            Payload::CodeSectionEntry(body) => {
                let size = body.range().len();
                at_most("bytes in one function", size as u64, MAX_FUNCTION as u64)?;
                let mut locals = 0_u64;
                let malformed =
                    |error: wasmparser::BinaryReaderError| LoadError::Malformed(error.to_string());
                for group in body.get_locals_reader().map_err(malformed)? {
                    locals = locals.saturating_add(u64::from(group.map_err(malformed)?.0));
                }
                at_most("locals in one function", locals, MAX_LOCALS)?;
                self.code = self.code.saturating_add(size as u64);
                self.functions += 1;
                self.locals = self.locals.saturating_add(locals);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => self.parts += 1,
            Payload::InstanceSection(section) => self.parts += u64::from(section.count()),
            Payload::ComponentInstanceSection(section) => {
                self.parts += u64::from(section.count());
            }
            _ => {}
        }
        at_most("bytes of code", self.code, MAX_CODE as u64)?;
        at_most("functions", self.functions, MAX_FUNCTIONS)?;
        at_most("locals", self.locals, MAX_ALL_LOCALS)?;
        at_most("parts", self.parts, MAX_PARTS)
    }
}

fn malformed(error: BinaryReaderError) -> LoadError {
    LoadError::Malformed(error.to_string())
}

fn at_most(what: &'static str, found: u64, most: u64) -> Result<(), LoadError> {
    if found > most {
        return Err(LoadError::TooLarge { what, most });
    }
    Ok(())
}
