//! What programs read, wrote and gave to the disk, from `/proc/PID/io`. Reads and writes count
//! sockets as well as files, where a program uses `read` and `write` for both, as nats-server does:
//! so its figures are what goes over the bus, whoever sends it.

use std::collections::BTreeMap;
use std::fs;

/// Bytes since a process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Read from anything.
    pub(crate) read: u64,
    /// Written to anything.
    pub(crate) written: u64,
    /// Given to the disk, or to be given soon.
    pub(crate) disk: u64,
}

impl Traffic {
    /// Of one process and of children that it waited for; nothing where it may not be looked at.
    pub(crate) fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        parse(&text)
    }

    /// What was moved since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            read: self.read.saturating_sub(earlier.read),
            written: self.written.saturating_sub(earlier.written),
            disk: self.disk.saturating_sub(earlier.disk),
        }
    }
}

/// By program, of processes with their names.
pub(crate) fn by_program(processes: &[(String, u32)]) -> BTreeMap<String, Traffic> {
    let mut all: BTreeMap<String, Traffic> = BTreeMap::new();
    for (name, pid) in processes {
        let (sum, one) = (all.entry(name.clone()).or_default(), Traffic::of(*pid));
        sum.read += one.read;
        sum.written += one.written;
        sum.disk += one.disk;
    }
    all
}

fn parse(text: &str) -> Traffic {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    Traffic {
        read: field("rchar:"),
        written: field("wchar:"),
        // What was overwritten or deleted before it got there never did.
        disk: field("write_bytes:").saturating_sub(field("cancelled_write_bytes:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_file_is_read() {
        let text = "rchar: 10\nwchar: 20\nsyscr: 1\nread_bytes: 3\nwrite_bytes: 4096\n\
                    cancelled_write_bytes: 96\n";
        let found = parse(text);
        let expected = Traffic {
            read: 10,
            written: 20,
            disk: 4000,
        };
        assert_eq!(found, expected);
        assert_eq!(parse(""), Traffic::default());
        let me = ("me".to_owned(), std::process::id());
        let mine = by_program(&[me.clone(), me]);
        assert!(mine.get("me").is_some_and(|mine| mine.read > 0));
    }
}
