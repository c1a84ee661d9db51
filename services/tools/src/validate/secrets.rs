//! Secrets in what a tool gives: a page, a file or an error message that holds a key must not carry
//! it into the log, the model and whoever reads along. What they look like is known to
//! `nexus-content`, which the models' answers are filtered by too.

use std::borrow::Cow;

use nexus_content::{Classes, Form, Redactor};
use nexus_events::content::Class;
use serde_json::Value;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhatFor {
    /// Keys, tokens, passwords and card numbers.
    Keys,
    /// E-mail addresses as well.
    EmailsToo,
}

/// Replaces every secret in a value, in names of fields too, and gives the kinds that it found.
pub fn redact(what_for: WhatFor, value: &mut Value) -> Vec<&'static str> {
    let emails = (what_for == WhatFor::EmailsToo).then_some(Class::Email);
    let redactor = Redactor {
        classes: Classes::of([Class::Secret, Class::Card].into_iter().chain(emails)),
        word,
    };
    let found = redactor.redact(value);
    found.into_iter().map(Form::words).collect()
}

fn word(form: Form) -> Cow<'static, str> {
    format!("[redacted: {}]", form.words()).into()
}
