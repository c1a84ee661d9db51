//! What is common to all patterns of a permission document: why one cannot be read, and lists that
//! are narrowed by one another.
//!
//! A pattern with a mistake opens nothing and its whole list is refused: skipping it would turn a
//! misspelt `blocked_ips` into an open door. So a mistake survives narrowing too.

use std::str::FromStr;

/// Why a pattern of a permission document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("permissions: {field}: {text:?} {reason}")]
pub struct PatternError {
    /// Where in the document, e.g. `network.allowed_hosts`.
    pub field: &'static str,
    /// The pattern, shortened.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub reason: &'static str,
}

impl PatternError {
    /// About this text.
    pub(crate) fn new(field: &'static str, text: &str, reason: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self {
            field,
            text,
            reason,
        }
    }
}

/// What a tool asked for and may not have; the message is for the model and for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

impl From<PatternError> for Denied {
    fn from(error: PatternError) -> Self {
        Self(error.to_string())
    }
}

/// A pattern that can be intersected with another of its kind, exactly.
pub(crate) trait Pattern: FromStr<Err = &'static str> + ToString + PartialEq {
    /// What both match; none when nothing is.
    fn both(&self, other: &Self) -> Option<Self>;
}

/// All patterns of a list.
pub(crate) fn read_all<P: FromStr<Err = &'static str>>(
    field: &'static str,
    texts: &[String],
) -> Result<Vec<P>, PatternError> {
    texts
        .iter()
        .map(|text| P::from_str(text).map_err(|reason| PatternError::new(field, text, reason)))
        .collect()
}

/// The list that matches what both lists match. Mistakes of either are kept.
pub(crate) fn both<P: Pattern>(a: &[String], b: &[String]) -> Vec<String> {
    let (good_a, bad_a) = sort::<P>(a);
    let (good_b, bad_b) = sort::<P>(b);
    let mut common = Vec::new();
    for one in &good_a {
        for other in &good_b {
            if let Some(pattern) = one.both(other) {
                add(&mut common, pattern);
            }
        }
    }
    finish(common.iter().map(P::to_string).chain(bad_a).chain(bad_b))
}

/// The list that matches what either matches, each pattern once.
pub(crate) fn either(a: &[String], b: &[String]) -> Vec<String> {
    finish(a.iter().chain(b).cloned())
}

/// Adds a pattern unless another covers it, and drops those that it covers.
fn add<P: Pattern>(list: &mut Vec<P>, pattern: P) {
    let covers = |one: &P, other: &P| one.both(other).as_ref() == Some(other);
    if list.iter().any(|one| covers(one, &pattern)) {
        return;
    }
    list.retain(|one| !covers(&pattern, one));
    list.push(pattern);
}

fn sort<P: Pattern>(texts: &[String]) -> (Vec<P>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for text in texts {
        match P::from_str(text) {
            Ok(pattern) => add(&mut good, pattern),
            Err(_) => bad.push(text.clone()),
        }
    }
    (good, bad)
}

fn finish(texts: impl Iterator<Item = String>) -> Vec<String> {
    texts
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}
