//! JSON in bounds: how large, how deep, how many values. Everything behind it recurses over values
//! and may rely on that.

use std::io;

use serde_json::Value;

const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 50_000;
const MAX_KEY: usize = 1024;

/// The bounds of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    max_bytes: u64,
    nul: bool,
}

/// Why a value is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeFault {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    NoJson(String),
    /// It is too large.
    #[error("it has more than {0} bytes as JSON")]
    Bytes(u64),
    /// It is nested too deeply.
    #[error("it is nested more than {MAX_DEPTH} levels deep")]
    Depth,
    /// It has too many values.
    #[error("it has more than {MAX_VALUES} values")]
    Values,
    /// A field's name is too long.
    #[error("it has a field with a name of more than {MAX_KEY} bytes")]
    Key,
    /// A text has a NUL.
    #[error("it has a text with a NUL character")]
    Nul,
}

impl Shape {
    /// With so many bytes as JSON.
    pub fn of_at_most(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            nul: true,
        }
    }

    /// Nothing has a NUL in it, which C, databases and terminals read as an end.
    #[must_use]
    pub fn without_nul(self) -> Self {
        Self { nul: false, ..self }
    }

    /// Whether a value is in bounds.
    ///
    /// # Errors
    /// [`ShapeFault`].
    pub fn check(&self, value: &Value) -> Result<(), ShapeFault> {
        let mut left = MAX_VALUES;
        self.walk(value, MAX_DEPTH, &mut left)?;
        let counter = Counter {
            left: self.max_bytes,
        };
        serde_json::to_writer(counter, value).map_err(|_| ShapeFault::Bytes(self.max_bytes))
    }

    fn walk(&self, value: &Value, depth: usize, left: &mut usize) -> Result<(), ShapeFault> {
        *left = left.checked_sub(1).ok_or(ShapeFault::Values)?;
        let below = || depth.checked_sub(1).ok_or(ShapeFault::Depth);
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                let below = below()?;
                items
                    .iter()
                    .try_for_each(|item| self.walk(item, below, left))
            }
            Value::Object(fields) => {
                let below = below()?;
                fields.iter().try_for_each(|(name, value)| {
                    if name.len() > MAX_KEY {
                        return Err(ShapeFault::Key);
                    }
                    self.text(name)?;
                    self.walk(value, below, left)
                })
            }
        }
    }

    fn text(&self, text: &str) -> Result<(), ShapeFault> {
        if !self.nul && text.contains('\0') {
            return Err(ShapeFault::Nul);
        }
        Ok(())
    }
}

/// Reads bytes that are bounded already. The parser itself stops at 128 levels.
///
/// # Errors
/// [`ShapeFault`].
pub fn parse(bytes: &[u8]) -> Result<Value, ShapeFault> {
    let value = serde_json::from_slice(bytes)
        .map_err(|cause| ShapeFault::NoJson(cause.to_string().chars().take(200).collect()))?;
    Shape::of_at_most(u64::MAX).check(&value)?;
    Ok(value)
}

/// Counts bytes and stops.
struct Counter {
    left: u64,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("full"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
