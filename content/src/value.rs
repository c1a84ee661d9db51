//! Leaves what is of some classes out of JSON: in texts, in numbers, in names of fields, and where a
//! field's name says that its value is secret, whatever that looks like.

use std::borrow::Cow;
use std::collections::BTreeSet;

use nexus_events::content::{Action, Class};
use serde_json::{Map, Value};

use crate::form::{Classes, Form};
use crate::scan;
use crate::side::{Side, Tally};

/// Names of fields whose text is a secret.
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

/// What is done with the texts of a value.
trait Visit {
    /// What takes the place of a text, if anything.
    fn text(&mut self, text: &str) -> Option<String>;
    /// What takes the place of a secret that only its field's name gives away.
    fn secret(&mut self) -> Option<String>;
}

fn walk(value: &mut Value, visit: &mut dyn Visit) {
    match value {
        Value::String(text) => {
            if let Some(clean) = visit.text(text) {
                *text = clean;
            }
        }
        Value::Number(number) => {
            if let Some(clean) = visit.text(&number.to_string()) {
                *value = Value::String(clean);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, visit)),
        Value::Object(fields) => {
            let taken = std::mem::take(fields);
            *fields = (taken.into_iter())
                .map(|(name, value)| field(name, value, visit))
                .collect::<Map<_, _>>();
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn field(name: String, mut value: Value, visit: &mut dyn Visit) -> (String, Value) {
    let by_name = names_a_secret(&name) && value.as_str().is_some_and(is_worth_hiding);
    match by_name.then(|| visit.secret()).flatten() {
        Some(word) => value = word.into(),
        None => walk(&mut value, visit),
    }
    (visit.text(&name).unwrap_or(name), value)
}

/// Leaves something out of values.
#[derive(Clone, Copy, Debug)]
pub struct Redactor {
    /// Of what.
    pub classes: Classes,
    /// What takes its place.
    pub word: fn(Form) -> Cow<'static, str>,
}

impl Redactor {
    /// Replaces what is of the classes, in names of fields too, and gives the forms that it found.
    pub fn redact(&self, value: &mut Value) -> BTreeSet<Form> {
        let mut by_form = ByForm {
            redactor: self,
            found: BTreeSet::new(),
        };
        walk(value, &mut by_form);
        by_form.found
    }
}

struct ByForm<'r> {
    redactor: &'r Redactor,
    found: BTreeSet<Form>,
}

impl Visit for ByForm<'_> {
    fn text(&mut self, text: &str) -> Option<String> {
        let replaced = scan::replace(text, self.redactor.classes, |form| {
            self.found.insert(form);
            (self.redactor.word)(form)
        });
        match replaced {
            Cow::Owned(replaced) => Some(replaced),
            Cow::Borrowed(_) => None,
        }
    }

    fn secret(&mut self) -> Option<String> {
        let one = self.redactor.classes.has(Class::Secret);
        one.then(|| {
            self.found.insert(Form::Password);
            (self.redactor.word)(Form::Password).into_owned()
        })
    }
}

impl Side {
    /// Filters the texts of a value where they are; gives what in it is refused.
    pub fn check_value(&self, value: &mut Value, tally: &mut Tally) -> Option<Class> {
        let mut by_side = BySide {
            side: self,
            tally,
            refused: None,
        };
        walk(value, &mut by_side);
        by_side.refused
    }
}

struct BySide<'s> {
    side: &'s Side,
    tally: &'s mut Tally,
    refused: Option<Class>,
}

impl Visit for BySide<'_> {
    fn text(&mut self, text: &str) -> Option<String> {
        let checked = self.side.check(text, self.tally);
        self.refused = self.refused.or(checked.refused);
        checked.text
    }

    fn secret(&mut self) -> Option<String> {
        let action = self.side.action(Class::Secret)?;
        self.tally.count(Class::Secret);
        match action {
            Action::Mark => None,
            Action::Redact => Some(format!("[redacted:{}]", Class::Secret.name())),
            Action::Refuse => {
                self.refused = self.refused.or(Some(Class::Secret));
                None
            }
        }
    }
}

/// Whether a field of this name holds a secret.
fn names_a_secret(name: &str) -> bool {
    let letters = |c: &char| c.is_ascii_alphanumeric();
    let name: String = name.chars().take(40).filter(letters).collect();
    NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Whether a text is long enough to be one, and was not left out before.
fn is_worth_hiding(text: &str) -> bool {
    text.len() >= 4 && !text.starts_with("[redacted")
}
