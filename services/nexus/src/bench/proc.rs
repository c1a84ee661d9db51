//! What processes used: CPU from `/proc/PID/stat`, memory from `/proc/PID/smaps_rollup`, summed over
//! a tree of processes by the program's name. Linux only, as the figures are.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The unit of `/proc/PID/stat`: `USER_HZ`, which is 100 on every Linux that programs see.
const TICKS_PER_SECOND: u64 = 100;

/// What one process shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    name: String,
    parent: u32,
    /// Its own time, in ticks.
    own_ticks: u64,
    /// That and the time of children it waited for.
    ticks: u64,
}

/// CPU time by program, of a process and all that descend from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Of the tree below a process, at this moment; nothing where there is none.
    pub(crate) fn of_tree(root: Option<u32>) -> Self {
        let mut cpu = Self::default();
        for stat in tree(&all(), root) {
            *cpu.0.entry(stat.name.clone()).or_default() += stat.ticks;
        }
        cpu
    }

    /// Of one process without its children, at this moment.
    pub(crate) fn of_one(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let stat = stat.ok().and_then(|text| parse(&text));
        Self(
            stat.into_iter()
                .map(|stat| (stat.name, stat.own_ticks))
                .collect(),
        )
    }

    /// Adds all of another under one name; nothing where the other is empty.
    pub(crate) fn add(&mut self, name: &str, other: Self) {
        if !other.0.is_empty() {
            *self.0.entry(name.to_owned()).or_default() += other.0.values().sum::<u64>();
        }
    }

    /// What was used since `earlier`, by program.
    pub(crate) fn since(&self, earlier: &Self) -> BTreeMap<String, Duration> {
        let used = |(name, ticks): (&String, &u64)| {
            let before = earlier.0.get(name).copied().unwrap_or(0);
            let millis = ticks.saturating_sub(before) * 1000 / TICKS_PER_SECOND;
            (name.clone(), Duration::from_millis(millis))
        };
        self.0.iter().map(used).collect()
    }
}

/// CPU time of one process to the nanosecond, of the threads that it has now: for what is too short
/// for the ticks of [`Cpu`].
pub(crate) fn exact_of_one(pid: u32) -> Duration {
    let of = |path: &Path| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| of(&thread.path()));
    Duration::from_nanos(nanos.sum())
}

/// The processes of the tree below one, with their programs' names.
pub(crate) fn processes(root: Option<u32>) -> Vec<(String, u32)> {
    let all = all();
    let found = tree(&all, root).into_iter();
    found.map(|stat| (stat.name.clone(), stat.pid)).collect()
}

/// Memory by program in bytes, of the tree below a process: each page that several processes share
/// is divided among them, as Postgres shares its buffers with every connection.
pub(crate) fn memory_of_tree(root: Option<u32>) -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for stat in tree(&all(), root) {
        *used.entry(stat.name.clone()).or_default() += memory_of_one(stat.pid);
    }
    used
}

/// Memory of one process without its children, in bytes.
pub(crate) fn memory_of_one(pid: u32) -> u64 {
    let of = |file: &str, field| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        kilobytes(&text, field)
    };
    // Another user's maps may be closed to us; resident memory is not.
    let kb = of("smaps_rollup", "Pss:").or_else(|| of("status", "VmRSS:"));
    kb.unwrap_or(0) * 1024
}

/// Processes of the tree below one, each with the program's name.
pub(crate) fn processes_of_tree(root: Option<u32>) -> Vec<(u32, String)> {
    let named = |stat: &Stat| (stat.pid, stat.name.clone());
    tree(&all(), root).into_iter().map(named).collect()
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    let stat = |path: &Path| fs::read_to_string(path.join("stat")).ok();
    entries
        .flatten()
        .filter_map(|entry| parse(&stat(&entry.path())?))
        .collect()
}

/// `pid (name) state ppid …`; the name may hold spaces and parentheses.
fn parse(stat: &str) -> Option<Stat> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // From the third field on: state, ppid, …; utime, stime, cutime and cstime are 14 to 17.
    let own_ticks = number(11)? + number(12)?;
    let ticks = own_ticks + number(13)? + number(14)?;
    let parent = u32::try_from(number(1)?).ok()?;
    Some(Stat {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        parent,
        own_ticks,
        ticks,
    })
}

fn tree(all: &[Stat], root: Option<u32>) -> Vec<&Stat> {
    let Some(root) = root else { return vec![] };
    let parents: HashMap<u32, u32> = all.iter().map(|stat| (stat.pid, stat.parent)).collect();
    let below = |stat: &&Stat| {
        let mut pid = stat.pid;
        // A chain is never longer than there are processes, even if it changed while it was read.
        for _ in 0..=all.len() {
            if pid == root {
                return true;
            }
            let Some(parent) = parents.get(&pid) else {
                return false;
            };
            pid = *parent;
        }
        false
    };
    all.iter().filter(below).collect()
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, name: &str, parent: u32, ticks: u64) -> Stat {
        Stat {
            pid,
            name: name.to_owned(),
            parent,
            own_ticks: ticks,
            ticks,
        }
    }

    #[test]
    fn a_name_may_look_like_a_field() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 9 0";
        let expected = Stat {
            own_ticks: 120,
            ..stat(42, "a) b (c", 7, 127)
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_tree_is_everything_below_its_root() {
        let all = [
            stat(1, "init", 0, 9),
            stat(5, "nexus", 1, 1),
            stat(6, "postgres", 5, 2),
            stat(7, "postgres", 6, 3),
            stat(8, "other", 1, 4),
        ];
        let found: Vec<u32> = tree(&all, Some(5)).iter().map(|stat| stat.pid).collect();
        assert_eq!(found, [5, 6, 7]);
        assert!(tree(&all, None).is_empty());
    }

    #[test]
    fn use_is_a_difference_by_program() {
        let cpu = |ticks| Cpu([("nexus".to_owned(), ticks)].into());
        let used = cpu(130).since(&cpu(100));
        assert_eq!(used.get("nexus"), Some(&Duration::from_millis(300)));
    }

    #[test]
    fn this_process_has_memory_and_a_tree() {
        let me = std::process::id();
        assert!(memory_of_tree(Some(me)).values().sum::<u64>() > 0);
        assert!(!Cpu::of_one(me).0.is_empty());
        let mut all = Cpu::of_tree(Some(me));
        all.add("load", Cpu::of_one(me));
        all.add("nobody", Cpu::of_tree(None));
        assert!(all.0.contains_key("load") && !all.0.contains_key("nobody"));
        assert_eq!(kilobytes("Rss: 1 kB\nPss:   1234 kB\n", "Pss:"), Some(1234));
    }
}
