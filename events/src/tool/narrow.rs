//! Two documents that both hold: a tool's own, and what policy obliges. The result is a document
//! again, so that it can be shown, recorded and narrowed once more.

use std::collections::BTreeSet;

use super::host::HostPattern;
use super::path::{Extension, PathPattern};
use super::pattern::{self, PatternError};
use super::{ByteSize, NetworkPermissions, PathPermissions, Permissions, Span, ToolPermissions};

/// CPU time of one call, where a document says nothing.
pub const DEFAULT_CPU_TIME: Span = Span::from_millis(10_000);
/// Memory of one call, where a document says nothing.
pub const DEFAULT_MEMORY: ByteSize = ByteSize::bytes(128 << 20);

/// Entries of one list, and characters of one entry.
const MAX_ENTRIES: usize = 256;
const MAX_ENTRY: usize = 1024;

impl Permissions {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What both documents allow.
    #[must_use]
    pub fn narrow(&self, by: &Self) -> Self {
        Self {
            network: zip(&self.network, &by.network, narrow_network),
            paths: zip(&self.paths, &by.paths, narrow_paths),
            max_file_size: least(
                self.max_file_size,
                by.max_file_size,
                Self::file_size,
                self,
                by,
            ),
            allowed_extensions: match (&self.allowed_extensions, &by.allowed_extensions) {
                (Some(a), Some(b)) => Some(pattern::both::<Extension>(a, b)),
                (one, other) => (one.as_ref().or(other.as_ref()))
                    .map(|list| pattern::both::<Extension>(list, list)),
            },
            languages: common(&self.languages, &by.languages),
            max_cpu_time: least(self.max_cpu_time, by.max_cpu_time, Self::cpu_time, self, by),
            max_memory: least(self.max_memory, by.max_memory, Self::memory, self, by),
            network_access: self.network_access && by.network_access,
        }
    }

    /// CPU time of one call.
    pub fn cpu_time(&self) -> Span {
        self.max_cpu_time.unwrap_or(DEFAULT_CPU_TIME)
    }

    /// Memory of one call.
    pub fn memory(&self) -> ByteSize {
        self.max_memory.unwrap_or(DEFAULT_MEMORY)
    }

    /// Whether every pattern can be read and no list is out of bounds: asked when a document is
    /// taken in.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), PatternError> {
        for (field, list) in self.lists() {
            if list.len() > MAX_ENTRIES {
                return Err(PatternError::new(field, "", "has more than 256 entries"));
            }
            if let Some(long) = list.iter().find(|entry| entry.len() > MAX_ENTRY) {
                return Err(PatternError::new(field, long, "is longer than 1024 bytes"));
            }
        }
        if let Some(network) = &self.network {
            network.rules()?;
        }
        self.path_rules().map(drop)
    }

    fn lists(&self) -> Vec<(&'static str, &[String])> {
        let mut lists: Vec<(_, &[String])> = vec![("languages", &self.languages)];
        if let Some(network) = &self.network {
            lists.push(("network.allowed_hosts", &network.allowed_hosts));
            lists.push(("network.blocked_ips", &network.blocked_ips));
        }
        if let Some(paths) = &self.paths {
            lists.push(("paths.read", &paths.read));
            lists.push(("paths.write", &paths.write));
            lists.push(("paths.execute", &paths.execute));
        }
        if let Some(extensions) = &self.allowed_extensions {
            lists.push(("allowed_extensions", extensions));
        }
        lists
    }
}

impl ToolPermissions {
    /// What a tool may touch: the entry of its name, else of its category, else nothing.
    pub fn of(&self, tool: &str, category: &str) -> Permissions {
        let entry = self.tools.get(tool).or_else(|| self.tools.get(category));
        entry
            .map(|entry| entry.permissions.clone())
            .unwrap_or_default()
    }
}

fn narrow_network(a: &NetworkPermissions, b: &NetworkPermissions) -> NetworkPermissions {
    type Network = NetworkPermissions;
    NetworkPermissions {
        allowed_hosts: pattern::both::<HostPattern>(&a.allowed_hosts, &b.allowed_hosts),
        blocked_ips: pattern::either(&a.blocked_ips, &b.blocked_ips),
        max_response_size: least(
            a.max_response_size,
            b.max_response_size,
            Network::response_size,
            a,
            b,
        ),
        timeout: least(a.timeout, b.timeout, Network::time_limit, a, b),
    }
}

fn narrow_paths(a: &PathPermissions, b: &PathPermissions) -> PathPermissions {
    PathPermissions {
        read: pattern::both::<PathPattern>(&a.read, &b.read),
        write: pattern::both::<PathPattern>(&a.write, &b.write),
        execute: common(&a.execute, &b.execute),
    }
}

/// The smaller one, where absence means a default and stays absence when both are absent.
fn least<T: Ord, P>(one: Option<T>, other: Option<T>, of: fn(&P) -> T, a: &P, b: &P) -> Option<T> {
    (one.is_some() || other.is_some()).then(|| of(a).min(of(b)))
}

fn zip<T>(a: &Option<T>, b: &Option<T>, both: fn(&T, &T) -> T) -> Option<T> {
    Some(both(a.as_ref()?, b.as_ref()?))
}

fn common(a: &[String], b: &[String]) -> Vec<String> {
    let kept: BTreeSet<_> = a.iter().filter(|entry| b.contains(entry)).collect();
    kept.into_iter().cloned().collect()
}
