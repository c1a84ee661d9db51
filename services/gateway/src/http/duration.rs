//! Durations in queries: `500ms`, `30s`, `2m`, or seconds without a unit.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

impl Wait {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let millis = match unit {
            "ms" => number,
            "" | "s" => number.checked_mul(1_000)?,
            "m" => number.checked_mul(60_000)?,
            _ => return None,
        };
        Some(Self(Duration::from_millis(millis)))
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("it must be a duration such as 500ms, 30s or 2m"))
    }
}

impl JsonSchema for Wait {
    fn schema_name() -> Cow<'static, str> {
        "Wait".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m)?$", "examples": ["30s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let of = |text| Wait::parse(text).map(|Wait(duration)| duration.as_millis());
        assert_eq!(of("500ms"), Some(500));
        assert_eq!(of("30s"), Some(30_000));
        assert_eq!(of("30"), Some(30_000));
        assert_eq!(of("2m"), Some(120_000));
        for bad in [
            "",
            "s",
            "-1s",
            "1h",
            "1.5s",
            "99999999999999999999s",
            "1 s",
            "ä",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
