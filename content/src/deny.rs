//! An installation's own list: words, and regular expressions of bounded length in linear time.
//! Their length decides how much of a stream is held back, so it is computed and not believed.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::Look;
use serde::Deserialize;

/// Entries of a list, and the longest match of one, in bytes.
const MOST_ENTRIES: usize = 1000;
pub(crate) const LONGEST: usize = 128;
/// Of all entries compiled together, in bytes.
const COMPILED: usize = 4 << 20;

/// One entry: a word or a sentence, or `{ regex = "…" }`. Upper and lower case are the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum DenyEntry {
    /// As it stands, where a word begins and ends.
    Word(String),
    /// A pattern.
    Pattern(Pattern),
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// In the syntax of the crate `regex`.
    pub regex: String,
}

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DenyError {
    /// It is too long.
    #[error("the list has {0} entries, and at most {MOST_ENTRIES} are taken")]
    TooMany(usize),
    /// No regular expression.
    #[error("the entry {entry:?} is no regular expression")]
    Syntax {
        /// The entry.
        entry: String,
        /// Why.
        #[source]
        source: Box<regex_syntax::Error>,
    },
    /// Its matches are not bounded, or too long.
    #[error("the entry {entry:?} matches {found}, and must match 1 to {LONGEST} bytes")]
    Length {
        /// The entry.
        entry: String,
        /// What it matches.
        found: String,
    },
    /// It asks where the text or a line begins or ends.
    #[error("the entry {0:?} asks for the beginning or end of a line; only \\b can be asked for")]
    Anchor(String),
    /// All of them together are too much.
    #[error("the list cannot be compiled")]
    Compile(#[source] regex::Error),
}

/// A list, compiled.
#[derive(Debug)]
pub(crate) struct Deny {
    pub(crate) regex: Regex,
    /// The longest match in bytes.
    pub(crate) longest: usize,
}

impl Deny {
    /// Compiles a list; an empty one is none.
    pub(crate) fn new(entries: &[DenyEntry]) -> Result<Option<Self>, DenyError> {
        if entries.len() > MOST_ENTRIES {
            return Err(DenyError::TooMany(entries.len()));
        }
        let mut longest = 0;
        let mut patterns = Vec::with_capacity(entries.len());
        for entry in entries {
            let pattern = pattern(entry);
            longest = longest.max(length(entry, &pattern)?);
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            return Ok(None);
        }
        let regex = RegexBuilder::new(&patterns.join("|"))
            .size_limit(COMPILED)
            .build()
            .map_err(DenyError::Compile)?;
        Ok(Some(Self { regex, longest }))
    }
}

fn pattern(entry: &DenyEntry) -> String {
    match entry {
        DenyEntry::Pattern(pattern) => format!("(?i:{})", pattern.regex),
        DenyEntry::Word(word) => {
            let edge = |c: Option<char>| match c {
                Some(c) if c.is_alphanumeric() || c == '_' => r"\b",
                _ => "",
            };
            let (begins, ends) = (edge(word.chars().next()), edge(word.chars().next_back()));
            format!("(?i:{begins}{}{ends})", regex::escape(word))
        }
    }
}

/// The longest match of a pattern.
fn length(entry: &DenyEntry, pattern: &str) -> Result<usize, DenyError> {
    let name = || match entry {
        DenyEntry::Word(word) => word.chars().take(80).collect::<String>(),
        DenyEntry::Pattern(pattern) => pattern.regex.chars().take(80).collect(),
    };
    let parsed = regex_syntax::Parser::new().parse(pattern);
    let parsed = parsed.map_err(|source| DenyError::Syntax {
        entry: name(),
        source: Box::new(source),
    })?;
    let properties = parsed.properties();
    let anchors = [
        Look::Start,
        Look::End,
        Look::StartLF,
        Look::EndLF,
        Look::StartCRLF,
        Look::EndCRLF,
    ];
    if anchors
        .iter()
        .any(|look| properties.look_set().contains(*look))
    {
        return Err(DenyError::Anchor(name()));
    }
    match (properties.minimum_len(), properties.maximum_len()) {
        (Some(1..), Some(longest @ 1..=LONGEST)) => Ok(longest),
        (shortest, longest) => {
            let longest = longest.map_or("any number of".to_owned(), |most| most.to_string());
            Err(DenyError::Length {
                entry: name(),
                found: format!("{} to {longest} bytes", shortest.unwrap_or(0)),
            })
        }
    }
}
