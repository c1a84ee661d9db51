//! Versions as programs print them. Not semver: PostgreSQL has two numbers and betas, Debian adds
//! its own, and only "new enough" is ever asked.

use std::fmt;

/// The version of a program, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number, 0 if there is none.
    pub minor: u32,
    /// The third number, 0 if there is none.
    pub patch: u32,
}

impl Version {
    /// A version from its numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Finds the version in what a program prints for `--version`: the first word that begins with
    /// a digit, or with `v` and a digit.
    #[must_use]
    pub fn parse(printed: &str) -> Option<Self> {
        printed.split_whitespace().find_map(parse_word)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            patch,
        } = self;
        if *patch == 0 {
            write!(f, "{major}.{minor}")
        } else {
            write!(f, "{major}.{minor}.{patch}")
        }
    }
}

fn parse_word(word: &str) -> Option<Version> {
    let mut numbers = word
        .strip_prefix('v')
        .unwrap_or(word)
        .split('.')
        .map(leading_number);
    let major = numbers.next()??;
    let mut next = || numbers.next().flatten().unwrap_or(0);
    Some(Version::new(major, next(), next()))
}

/// The number that a text begins with: 18 of `18beta1`.
fn leading_number(text: &str) -> Option<u32> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_programs_print() {
        let read = |printed| Version::parse(printed).map(|v| (v.major, v.minor, v.patch));
        assert_eq!(read("nats-server: v2.15.1"), Some((2, 15, 1)));
        assert_eq!(read("nats-server: v2.12.0-RC.2"), Some((2, 12, 0)));
        assert_eq!(read("postgres (PostgreSQL) 18.6"), Some((18, 6, 0)));
        assert_eq!(
            read("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"),
            Some((15, 14, 0))
        );
        assert_eq!(read("postgres (PostgreSQL) 18beta1"), Some((18, 0, 0)));
        assert_eq!(read("Python 3.11.2\n"), Some((3, 11, 2)));
        assert_eq!(read("command not found"), None);
        assert_eq!(read("v"), None);
        assert_eq!(read("99999999999.1"), None);
    }

    #[test]
    fn orders_by_number_and_not_by_text() {
        assert!(Version::new(2, 9, 10) < Version::new(2, 12, 0));
        assert!(Version::new(15, 0, 0) <= Version::new(15, 14, 0));
    }
}
