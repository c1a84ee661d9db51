//! From where somebody acts: what the audit shows beside who it was. It comes from outside, so
//! that it is cut where it is read: neither an address nor a program's name is ever long.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest user agent that is kept, in characters.
pub const USER_AGENT_CHARS: usize = 256;

/// From where somebody acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The program, as it names itself: at most 256 characters.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded"
    )]
    pub user_agent: Option<String>,
}

impl Source {
    /// A source, its program's name cut to what is kept.
    pub fn new(address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self {
            address: address.map(|address| address.to_canonical()),
            user_agent: user_agent.filter(|text| !text.is_empty()).map(cut),
        }
    }

    /// True where nothing is known.
    pub fn is_empty(&self) -> bool {
        self.address.is_none() && self.user_agent.is_none()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(USER_AGENT_CHARS).collect()
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    Ok(text.as_deref().map(cut))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn a_source_is_cut_whether_it_is_made_or_read() {
        let long = "ä".repeat(5_000);
        let made = Source::new(Some("::ffff:10.0.0.1".parse().unwrap()), Some(&long));
        assert_eq!(made.address, Some("10.0.0.1".parse().unwrap()));
        let text = format!(r#"{{"address":"10.0.0.1","user_agent":"{long}"}}"#);
        assert_eq!(serde_json::from_str::<Source>(&text).unwrap(), made);
        assert_eq!(made.user_agent.unwrap().chars().count(), USER_AGENT_CHARS);
        assert!(Source::new(None, Some("")).is_empty());
        assert!(serde_json::from_str::<Source>(r#"{"address":"here"}"#).is_err());
    }
}
