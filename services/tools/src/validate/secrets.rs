//! Secrets in what a tool gives: a page, a file or an error message that holds a key must not carry
//! it into the log, the model and whoever reads along. By the known forms of keys, which have few
//! false alarms; a general measure of randomness would take every digest for one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// Kind and pattern. Where a pattern has a group, only that is left out.
const KINDS: &[(&str, &str)] = &[
    (
        "private key",
        r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
    ),
    (
        "token",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    ),
    ("API key", r"\bsk-[A-Za-z0-9_-]{20,}"),
    ("API key", r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}\b"),
    ("API key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("API key", r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}"),
    ("API key", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("token", r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    ("token", r"\bgithub_pat_[A-Za-z0-9_]{40,}"),
    ("token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("token", r"\bnpm_[A-Za-z0-9]{36}"),
    ("token", r"\bpypi-[A-Za-z0-9_-]{40,}"),
    ("token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("token", r"\bdop_v1_[a-f0-9]{64}"),
    ("token", r"(?i)\bbearer[ \t]+([a-z0-9._~+/-]{16,}=*)"),
    (
        "password",
        r"(?i)\bauthorization:[ \t]*basic[ \t]+([a-z0-9+/]{8,}=*)",
    ),
    (
        "password",
        r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s/:@]{0,100}:([^\s/@]{1,200})@",
    ),
    (
        "password",
        r#"(?i)\b(?:password|passwd|api[_-]?key|secret[_-]?(?:access[_-]?)?key|access[_-]?token|client[_-]?secret)["']?[ \t]*[=:][ \t]*["']?([^\s"',;&]{8,})"#,
    ),
];
/// Names of fields whose text is a secret, whatever it looks like.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "apikey",
    "secretkey",
    "secretaccesskey",
    "accesstoken",
    "refreshtoken",
    "clientsecret",
    "privatekey",
];
const CARD: &str = r"\b\d(?:[ -]?\d){12,18}\b";
const EMAIL: &str = r"(?i)\b[a-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}\b";

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhatFor {
    /// Keys, tokens, passwords and card numbers.
    Keys,
    /// E-mail addresses as well.
    EmailsToo,
}

/// Finds secrets.
#[derive(Debug)]
pub struct Secrets {
    kinds: Vec<(&'static str, Regex)>,
}

impl Secrets {
    /// The one of the process; its patterns are compiled when it is first asked for.
    pub fn shared(what_for: WhatFor) -> &'static Self {
        static KEYS: OnceLock<Secrets> = OnceLock::new();
        static EMAILS_TOO: OnceLock<Secrets> = OnceLock::new();
        let cell = match what_for {
            WhatFor::Keys => &KEYS,
            WhatFor::EmailsToo => &EMAILS_TOO,
        };
        cell.get_or_init(|| Self::new(what_for))
    }

    fn new(what_for: WhatFor) -> Self {
        let emails = (what_for == WhatFor::EmailsToo).then_some(("e-mail address", EMAIL));
        let kinds = KINDS
            .iter()
            .copied()
            .chain([("card number", CARD)])
            .chain(emails);
        // A test compiles each of them.
        let kinds = kinds.filter_map(|(kind, pattern)| Some((kind, Regex::new(pattern).ok()?)));
        Self {
            kinds: kinds.collect(),
        }
    }

    /// Replaces every secret in a value, in names of fields too, and gives the kinds that it found.
    pub fn redact(&self, value: &mut Value) -> Vec<&'static str> {
        let mut found = BTreeSet::new();
        self.walk(value, &mut found);
        found.into_iter().collect()
    }

    fn walk(&self, value: &mut Value, found: &mut BTreeSet<&'static str>) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(clean) = self.text(text, found) {
                    *text = clean;
                }
            }
            Value::Number(number) => {
                let written = number.to_string();
                if let Cow::Owned(clean) = self.text(&written, found) {
                    *value = Value::String(clean);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, found)),
            Value::Object(fields) => {
                let taken = std::mem::take(fields);
                *fields = taken
                    .into_iter()
                    .map(|(name, mut value)| {
                        if names_a_secret(&name) && value.as_str().is_some_and(is_worth_hiding) {
                            found.insert("password");
                            value = "[redacted: password]".into();
                        }
                        self.walk(&mut value, found);
                        (self.text(&name, found).into_owned(), value)
                    })
                    .collect::<Map<_, _>>();
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn text<'t>(&self, text: &'t str, found: &mut BTreeSet<&'static str>) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for (kind, pattern) in &self.kinds {
            let replaced = pattern.replace_all(&text, |hit: &Captures<'_>| {
                let whole = hit.get(0).map_or("", |whole| whole.as_str());
                let secret = hit.get(1).map_or(whole, |group| group.as_str());
                let is_one = *kind != "card number" || is_card(secret);
                if !is_one || secret.starts_with("[redacted") {
                    return whole.to_owned();
                }
                found.insert(*kind);
                whole.replace(secret, &format!("[redacted: {kind}]"))
            });
            if let Cow::Owned(replaced) = replaced
                && replaced != text
            {
                text = Cow::Owned(replaced);
            }
        }
        text
    }
}

fn names_a_secret(name: &str) -> bool {
    let letters = |c: &char| c.is_ascii_alphanumeric();
    let name: String = name.chars().take(40).filter(letters).collect();
    NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

fn is_worth_hiding(text: &str) -> bool {
    text.len() >= 4 && !text.starts_with("[redacted")
}

/// Whether digits are a payment card's: the right beginning, and the check digit of Luhn.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let begins = matches!(
        digits.as_slice(),
        [3, 4..=8, ..] | [4, ..] | [5, 1..=5, ..] | [2, 2..=7, ..] | [6, ..]
    );
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    begins && (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        let all = Secrets::shared(WhatFor::EmailsToo);
        assert_eq!(all.kinds.len(), KINDS.len() + 2);
        assert_eq!(Secrets::shared(WhatFor::Keys).kinds.len(), KINDS.len() + 1);
    }
}
