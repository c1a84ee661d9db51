//! What the filter between callers and models looks for, and what it does. The words are here since
//! policy obliges to them and events record them; what finds anything is a crate of its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of content that an installation may not want to pass.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Keys, tokens, passwords, private keys.
    Secret,
    /// Numbers of payment cards.
    Card,
    /// Numbers of bank accounts (IBAN).
    Iban,
    /// E-mail addresses.
    Email,
    /// Phone numbers in international form.
    Phone,
    /// Social security numbers of the United States.
    Ssn,
    /// Addresses of IPv4.
    Ip,
    /// What the installation's own list names.
    Denied,
}

impl Class {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Secret,
        Self::Card,
        Self::Iban,
        Self::Email,
        Self::Phone,
        Self::Ssn,
        Self::Ip,
        Self::Denied,
    ];

    /// As it is written in configuration, policy and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ssn => "ssn",
            Self::Ip => "ip",
            Self::Denied => "denied",
        }
    }
}

/// What is done with what was found; a later one is the stricter one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is recorded that it was there.
    Mark,
    /// `[redacted:<class>]` takes its place.
    Redact,
    /// The call is not made, or its answer is dropped.
    Refuse,
}

/// Which way the content goes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the model.
    Input,
    /// From the model.
    Output,
}

/// That something was found: never what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which way it went.
    pub direction: Direction,
    /// What it is.
    pub class: Class,
    /// What was done.
    pub action: Action,
    /// How often. Something refused ends the search, so that there may have been more.
    pub count: u32,
}

/// What policy wants done; a class that is not named is left to the installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContentDuty {
    /// With what goes to the model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<Class, Action>,
    /// With what comes from it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<Class, Action>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn names_are_what_is_written() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
        assert!(Action::Mark < Action::Redact && Action::Redact < Action::Refuse);
    }

    #[test]
    fn a_duty_names_only_what_is_known() {
        let read = |text: &str| serde_json::from_str::<ContentDuty>(text);
        let duty = read(r#"{"input": {"email": "redact"}}"#).unwrap();
        assert_eq!(duty.input[&Class::Email], Action::Redact);
        for wrong in [
            r#"{"inputs": {}}"#,
            r#"{"input": {"e-mail": "redact"}}"#,
            r#"{"output": {"email": "erase"}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
