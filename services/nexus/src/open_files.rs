//! How many files and connections this program may have open. A process that holds a stream to a
//! provider and one to a client for each call meets the usual soft limit of 1,024 long before it meets
//! any other; the hard limit is the administrator's word, so the soft one is raised to it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than a process of ours can use.
const ENOUGH: u64 = 65_536;

/// Raises the limit as far as it may be. What cannot be raised stays as it is.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_some_and(|now| now < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        // A refusal leaves what was there, which is enough for a small installation.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        raise_limit();
        let after = getrlimit(Resource::Nofile);
        let wanted = before.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
        assert!(after.current.is_none_or(|now| now >= wanted));
        assert_eq!(after.maximum, before.maximum);
    }
}
