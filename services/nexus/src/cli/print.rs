//! Answers on standard output: a table or a sheet for people, JSON as it came for programs.

use std::io::Write;

use serde_json::Value;

use super::error::CliError;
use super::style::{Style, Tone};
use super::view::{Field, rows, sheet, table};

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Output {
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Output {
    /// A page of a list.
    ///
    /// # Errors
    /// The other end of a pipe is gone.
    pub(crate) fn list(self, fields: &[Field], answer: &Value) -> Result<(), CliError> {
        if self.json {
            return self.value(answer);
        }
        let rows = rows(answer);
        if rows.is_empty() {
            hint("nothing found");
            return Ok(());
        }
        write(&table(fields, rows, Style::stdout()))?;
        if let Some(cursor) = answer.get("next_cursor").and_then(Value::as_str) {
            hint(&format!("there is more: --cursor {cursor}"));
        }
        Ok(())
    }

    /// One thing.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn one(self, fields: &[Field], answer: &Value) -> Result<(), CliError> {
        if self.json {
            self.value(answer)
        } else {
            write(&sheet(fields, answer, Style::stdout()))
        }
    }

    /// A list within an answer, under a heading; nothing where it is empty.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn part(
        self,
        heading: &str,
        fields: &[Field],
        part: Option<&Value>,
    ) -> Result<(), CliError> {
        let rows = part.map_or(&[][..], rows);
        if self.json || rows.is_empty() {
            return Ok(());
        }
        let style = Style::stdout();
        write(&format!(
            "\n{}\n{}",
            style.paint(Tone::Bold, heading),
            table(fields, rows, style)
        ))
    }

    /// What a command came to: a sentence, or the answer.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn done(self, sentence: &str, answer: &Value) -> Result<(), CliError> {
        if self.json {
            self.value(answer)
        } else {
            write(&format!("{sentence}\n"))
        }
    }

    /// JSON, indented where a person looks.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn value(self, answer: &Value) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(answer).unwrap_or_else(|_| answer.to_string());
        write(&format!("{text}\n"))
    }
}

/// Text on standard output.
///
/// # Errors
/// The other end of a pipe is gone.
pub(crate) fn write(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

/// The same for what is sent as it is.
///
/// # Errors
/// As [`write`].
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(CliError::io("cannot write to standard output"))
}

/// A remark on standard error.
pub(crate) fn hint(text: &str) {
    eprintln!("{}", Style::stderr().paint(Tone::Dim, text));
}
