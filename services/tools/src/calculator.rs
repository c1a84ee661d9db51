//! `calculator`: arithmetic, evaluated exactly as written. A recursive descent over the text, bounded
//! in length and depth; the evaluators that registries carry are unkept, copyleft, or languages of
//! their own with variables and assignments that a model should not have.

use serde::Deserialize;

use crate::ToolError;

const MAX_LENGTH: usize = 4096;
const MAX_DEPTH: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    expression: String,
}

/// Evaluates `{"expression": "..."}` to `{"result": number}`.
///
/// # Errors
/// [`ToolError`] with what is wrong and where, for the model to correct.
pub(crate) fn call(arguments: &serde_json::Value) -> Result<serde_json::Value, ToolError> {
    let Arguments { expression } = serde_json::from_value(arguments.clone()).map_err(|error| {
        ToolError::arguments(format!("expected {{\"expression\": string}}: {error}"))
    })?;
    let value = evaluate(&expression)?;
    if value.fract() == 0.0 && value.abs() < 1e15 {
        // A whole number is written as one: models repeat what they read.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole, and far inside an i64"
        )]
        let whole = value as i64;
        return Ok(serde_json::json!({ "result": whole }));
    }
    Ok(serde_json::json!({ "result": value }))
}

/// The value of an expression.
///
/// # Errors
/// [`ToolError`]: not an expression, or not a finite number.
pub(crate) fn evaluate(expression: &str) -> Result<f64, ToolError> {
    if expression.len() > MAX_LENGTH {
        return Err(ToolError::arguments(format!(
            "the expression is longer than {MAX_LENGTH} bytes"
        )));
    }
    let mut parser = Parser {
        text: expression.as_bytes(),
        at: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    if parser.peek().is_some() {
        return Err(parser.unexpected("an operator or the end"));
    }
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ToolError::failed(
            "the result is not a finite number (a division by zero, or too large)",
        ))
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<f64, ToolError> {
        let mut value = self.product()?;
        while let Some(operator @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            value = if operator == b'+' {
                value + right
            } else {
                value - right
            };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, ToolError> {
        let mut value = self.signed()?;
        while let Some(operator @ (b'*' | b'/' | b'%')) = self.peek() {
            if self.text[self.at..].starts_with(b"**") {
                break;
            }
            self.at += 1;
            let right = self.signed()?;
            value = match operator {
                b'*' => value * right,
                b'/' => value / right,
                _ => value % right,
            };
        }
        Ok(value)
    }

    /// A sign binds weaker than a power: -2^2 is -4.
    fn signed(&mut self) -> Result<f64, ToolError> {
        match self.peek() {
            Some(b'-') => {
                self.at += 1;
                self.nested(Self::signed).map(|value| -value)
            }
            Some(b'+') => {
                self.at += 1;
                self.nested(Self::signed)
            }
            _ => self.power(),
        }
    }

    fn power(&mut self) -> Result<f64, ToolError> {
        let base = self.atom()?;
        let operator = match self.peek() {
            Some(b'^') => 1,
            Some(b'*') if self.text[self.at..].starts_with(b"**") => 2,
            _ => return Ok(base),
        };
        self.at += operator;
        Ok(base.powf(self.nested(Self::signed)?))
    }

    fn atom(&mut self) -> Result<f64, ToolError> {
        match self.peek() {
            Some(b'(') => {
                self.at += 1;
                let value = self.nested(Self::sum)?;
                self.close()?;
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == b'.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.name(),
            _ => Err(self.unexpected("a number, a function or a parenthesis")),
        }
    }

    fn number(&mut self) -> Result<f64, ToolError> {
        let start = self.at;
        while let Some(&c) = self.text.get(self.at) {
            let after_exponent =
                matches!(self.text.get(self.at.wrapping_sub(1)), Some(b'e' | b'E'));
            let sign = matches!(c, b'+' | b'-') && after_exponent && self.at > start;
            if !(c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'_') || sign) {
                break;
            }
            self.at += 1;
        }
        let text = String::from_utf8_lossy(&self.text[start..self.at]).replace('_', "");
        text.parse()
            .map_err(|_| ToolError::arguments(format!("{text:?} is not a number")))
    }

    fn name(&mut self) -> Result<f64, ToolError> {
        let start = self.at;
        while self
            .text
            .get(self.at)
            .is_some_and(u8::is_ascii_alphanumeric)
        {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(&self.text[start..self.at]).to_lowercase();
        if self.peek() != Some(b'(') {
            return match name.as_str() {
                "pi" => Ok(std::f64::consts::PI),
                "e" => Ok(std::f64::consts::E),
                _ => Err(ToolError::arguments(format!("{name:?} is not known"))),
            };
        }
        self.at += 1;
        let mut arguments = vec![self.nested(Self::sum)?];
        while self.peek() == Some(b',') && arguments.len() < 256 {
            self.at += 1;
            arguments.push(self.nested(Self::sum)?);
        }
        self.close()?;
        apply(&name, &arguments)
    }

    fn nested(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<f64, ToolError>,
    ) -> Result<f64, ToolError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ToolError::arguments(format!(
                "nested deeper than {MAX_DEPTH}"
            )));
        }
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn close(&mut self) -> Result<(), ToolError> {
        if self.peek() == Some(b')') {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected("a closing parenthesis"))
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn unexpected(&self, wanted: &str) -> ToolError {
        let rest = String::from_utf8_lossy(&self.text[self.at.min(self.text.len())..]);
        let found: String = rest.chars().take(16).collect();
        let at = self.at;
        ToolError::arguments(match found.is_empty() {
            true => format!("expected {wanted} at the end"),
            false => format!("expected {wanted} at byte {at}, found {found:?}"),
        })
    }
}

fn apply(name: &str, arguments: &[f64]) -> Result<f64, ToolError> {
    match (name, arguments) {
        ("sqrt", [x]) => Ok(x.sqrt()),
        ("abs", [x]) => Ok(x.abs()),
        ("round", [x]) => Ok(x.round()),
        ("floor", [x]) => Ok(x.floor()),
        ("ceil", [x]) => Ok(x.ceil()),
        ("min", [first, rest @ ..]) => Ok(rest.iter().copied().fold(*first, f64::min)),
        ("max", [first, rest @ ..]) => Ok(rest.iter().copied().fold(*first, f64::max)),
        ("sqrt" | "abs" | "round" | "floor" | "ceil", _) => Err(ToolError::arguments(format!(
            "{name} takes one argument, not {}",
            arguments.len()
        ))),
        _ => Err(ToolError::arguments(format!(
            "{name:?} is not known; there is sqrt, abs, round, floor, ceil, min, max"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn computes() {
        for (expression, value) in [
            ("1234 * 77", 95018.0),
            ("(12.5 + 3) * 4 / 7", 62.0 / 7.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("2**10", 1024.0),
            ("-2^2", -4.0),
            ("2^-1", 0.5),
            ("10 % 4", 2.0),
            ("1e3 + 1_000", 2000.0),
            ("1e-3", 0.001),
            ("max(1, 2, sqrt(16)) - --1", 3.0),
            ("round(2.5) + floor(-0.5)", 2.0),
            ("pi", std::f64::consts::PI),
        ] {
            assert_eq!(evaluate(expression).unwrap(), value, "{expression}");
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let deep = "(".repeat(100_000);
        let minus = "-".repeat(4000);
        for bad in [
            "",
            "1 +",
            "1 2",
            "foo(1)",
            "x",
            "sqrt(1,2)",
            "1/0",
            "(1",
            "1)",
            "é",
            "1..2",
            &deep,
            &minus,
        ] {
            assert!(!evaluate(bad).unwrap_err().message.is_empty(), "{bad}");
        }
    }

    #[test]
    fn whole_numbers_are_written_whole() {
        let arguments = serde_json::json!({ "expression": "6*7" });
        assert_eq!(call(&arguments).unwrap().to_string(), r#"{"result":42}"#);
        assert!(call(&serde_json::json!("6*7")).is_err());
        assert!(call(&serde_json::json!({ "expression": "1", "x": 1 })).is_err());
    }
}
