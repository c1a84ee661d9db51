//! The machine that a figure belongs to: without it a figure means nothing.

use std::fs;

use serde::Serialize;

/// What the measuring ran on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// The processor's name.
    pub(crate) cpu: String,
    /// Memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// Runnable processes over the last minute before anything was measured: what else went on.
    pub(crate) load_before: f64,
    /// Whether this program was built with optimisation.
    pub(crate) optimised: bool,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or("unknown")
                .to_owned(),
            memory_bytes: memory(&read("/proc/meminfo")),
            load_before: load(&read("/proc/loadavg")),
            optimised: !cfg!(debug_assertions),
        }
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn memory(meminfo: &str) -> u64 {
    let kb = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse().ok());
    kb.map_or(0, |kb: u64| kb * 1024)
}

fn load(loadavg: &str) -> f64 {
    loadavg
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            field("a : 1\nmodel name\t: X 1\n", "model name"),
            Some("X 1")
        );
        assert_eq!(memory("MemTotal:       16384 kB\n"), 16_777_216);
        assert!((load("1.25 0.5 0.1 1/2 3\n") - 1.25).abs() < f64::EPSILON);
        assert!(Machine::here().cores > 0);
    }
}
