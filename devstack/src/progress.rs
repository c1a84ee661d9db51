//! Progress as lines of text: a download of half a gigabyte must not look like a hang. A channel
//! was the alternative; a callback needs no task to drain it.

use std::fmt;
use std::sync::Arc;

/// Where the lines go that tell a person what is being fetched or set up. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Progress {
    /// Calls `say` with each line, without a line end. It is called from any thread and should
    /// return soon.
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { say: Arc::new(say) }
    }

    /// Writes each line to the log, at level info.
    #[must_use]
    pub fn log() -> Self {
        Self::new(|line| tracing::info!("{line}"))
    }

    pub(crate) fn say(&self, line: &str) {
        (self.say)(line);
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::log()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
