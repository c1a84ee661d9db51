//! What can be loaded, and why it may be refused.

/// A guest as it is given.
#[derive(Clone, Debug)]
pub enum Guest {
    /// A WebAssembly binary: a component of the world `tool` in `wit/tool.wit`, or a command of WASI
    /// preview 1 that reads JSON on standard input and writes JSON on standard output.
    Wasm(Vec<u8>),
    /// JavaScript. Where it defines `call`, the result is what `call(input)` returns or resolves to;
    /// else it is the value of the last expression, with `input` in sight.
    JavaScript(String),
    /// Python, by the same rule.
    Python(String),
}

impl Guest {
    /// What it is a guest's digest of, before the guest itself.
    pub(crate) const fn tag(&self) -> &'static [u8] {
        match self {
            Self::Wasm(_) => b"wasm:",
            Self::JavaScript(_) => b"javascript:",
            Self::Python(_) => b"python:",
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Wasm(bytes) => bytes,
            Self::JavaScript(source) | Self::Python(source) => source.as_bytes(),
        }
    }
}

/// Why a guest is refused before it runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is too large, or made of too much.
    #[error("it has more {what} than the {most} that are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        most: u64,
    },
    /// It is not valid WebAssembly, or uses a proposal that is not offered (threads, garbage
    /// collection, 64-bit memories).
    #[error("it is not WebAssembly that can run here: {0}")]
    Malformed(String),
    /// It imports what is not offered, or does not export what a tool must.
    #[error("it is no tool: {0}")]
    NotATool(String),
    /// There is no interpreter for its language.
    #[error("there is no interpreter for {0} here")]
    NoInterpreter(&'static str),
    /// The sandbox itself failed.
    #[error("the sandbox failed: {0}")]
    Sandbox(String),
}

impl LoadError {
    /// A stable name of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::NotATool(_) => "not_a_tool",
            Self::NoInterpreter(_) => "no_interpreter",
            Self::Sandbox(_) => "sandbox_failed",
        }
    }
}
