//! How a call ends when it does not end well.

use std::time::Duration;

/// Why a call failed, with what is known of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{fault}")]
pub struct CallError {
    /// The reason.
    pub fault: Fault,
    /// What it did until then.
    pub traces: Traces,
}

impl CallError {
    /// A stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }

    pub(crate) fn bare(fault: Fault) -> Self {
        Self {
            fault,
            traces: Traces::default(),
        }
    }
}

/// What a call left behind besides its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The last of its log lines, of what it printed, and of its standard error. Untrusted text.
    pub printed: String,
    /// Processor time.
    pub cpu: Duration,
    /// The most linear memory that it had, in bytes.
    pub peak_memory: u64,
}

/// The reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It used all its processor time.
    #[error("it used more processor time than it may")]
    CpuExceeded,
    /// Its time by the clock was over.
    #[error("it did not end in time")]
    Timeout,
    /// It wanted more memory than it may have.
    #[error("it wanted more memory than it may have")]
    MemoryExceeded,
    /// It wanted larger tables than it may have.
    #[error("it wanted larger tables than it may have")]
    TableExceeded,
    /// Its result, or what it printed, is too large.
    #[error("it gave more output than it may")]
    OutputExceeded,
    /// What it was given is too large.
    #[error("the input is larger than it may be")]
    InputExceeded,
    /// It made more requests than it may.
    #[error("it made more requests than it may")]
    RequestsExceeded,
    /// It wrote more, or more files, than it may.
    #[error("it wrote more files, or larger ones, than it may")]
    FilesExceeded,
    /// It wanted more of something that the host has a fixed number of.
    #[error("it wanted more of the host than it may have: {0}")]
    ResourcesExceeded(String),
    /// Its calls nested too deeply.
    #[error("its calls nested too deeply")]
    StackOverflow,
    /// It did what WebAssembly forbids, or gave up.
    #[error("it broke off: {0}")]
    Trap(String),
    /// It says itself that it failed. Untrusted text.
    #[error("{0}")]
    Tool(String),
    /// What it gave is not JSON.
    #[error("its result is not JSON: {0}")]
    BadOutput(String),
    /// A thing that was asked for is not there for this kind of guest.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The sandbox itself failed.
    #[error("the sandbox failed: {0}")]
    Sandbox(String),
}

impl Fault {
    /// A stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CpuExceeded => "cpu_exceeded",
            Self::Timeout => "timeout",
            Self::MemoryExceeded => "memory_exceeded",
            Self::TableExceeded => "table_exceeded",
            Self::OutputExceeded => "output_exceeded",
            Self::InputExceeded => "input_exceeded",
            Self::RequestsExceeded => "requests_exceeded",
            Self::FilesExceeded => "files_exceeded",
            Self::ResourcesExceeded(_) => "resources_exceeded",
            Self::StackOverflow => "stack_overflow",
            Self::Trap(_) => "trap",
            Self::Tool(_) => "tool_error",
            Self::BadOutput(_) => "bad_output",
            Self::Unsupported(_) => "unsupported",
            Self::Sandbox(_) => "sandbox_failed",
        }
    }
}
