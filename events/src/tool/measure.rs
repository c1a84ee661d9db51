//! Sizes and spans of time as people write them: `10MB`, `30s`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number of bytes: `512`, `64KB`, `10MB`, `1GB`; units are of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A span of time: `250ms`, `30s`, `5m`, `1h`; a bare number is milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Span(u64);

impl Span {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// As milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

/// Why a size or a span could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct MeasureError {
    text: String,
    what: &'static str,
}

const BYTES: &[(&str, u64)] = &[
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("KB", 1 << 10),
    ("B", 1),
    ("", 1),
];
const MILLIS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("", 1),
];

impl FromStr for ByteSize {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        parse(text, BYTES, "a size, e.g. 512, 64KB, 10MB").map(Self)
    }
}

impl FromStr for Span {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        parse(text, MILLIS, "a span of time, e.g. 250ms, 30s, 5m").map(Self)
    }
}

fn parse(text: &str, units: &[(&str, u64)], what: &'static str) -> Result<u64, MeasureError> {
    let error = || MeasureError {
        text: text.chars().take(40).collect(),
        what,
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(error)?;
    let unit = unit.trim();
    let (_, factor) = (units.iter())
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(error)?;
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(*factor).ok_or_else(error)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &BYTES[..3], "B")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(
            f,
            self.0,
            &[("h", 3_600_000), ("m", 60_000), ("s", 1_000)],
            "ms",
        )
    }
}

fn write(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&str, u64)],
    least: &str,
) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(*factor);
    match units.iter().find(fits) {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => write!(f, "{value}{least}"),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

macro_rules! written {
    ($type:ident, $example:literal) => {
        impl TryFrom<Written> for $type {
            type Error = MeasureError;

            fn try_from(written: Written) -> Result<Self, MeasureError> {
                match written {
                    Written::Number(number) => Ok(Self(number)),
                    Written::Text(text) => text.parse(),
                }
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["string", "integer"], "examples": [$example] })
            }
        }
    };
}

written!(ByteSize, "10MB");
written!(Span, "30s");

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, bytes) in [
            ("10MB", 10 << 20),
            ("64KB", 1 << 16),
            ("1GB", 1 << 30),
            ("7B", 7),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, text));
        }
        for (text, millis) in [("30s", 30_000), ("250ms", 250), ("5m", 300_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.millis(), span.to_string().as_str()), (millis, text));
        }
        assert_eq!("12 mb".parse::<ByteSize>().unwrap().get(), 12 << 20);
        let number: Span = serde_json::from_str("1500").unwrap();
        assert_eq!(number.millis(), 1500);
    }

    #[test]
    fn what_is_no_measure_is_refused() {
        for text in [
            "",
            "MB",
            "-1",
            "1.5s",
            "10 parsecs",
            "99999999999999999999",
            "18446744073709551615GB",
            "１MB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
