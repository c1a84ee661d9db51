//! Where a run is shown: the answer on standard output, remarks on standard error and only where a
//! person reads them, so that `nexus run … > file` holds the answer and nothing else.

use std::io::{self, IsTerminal, Write};

use super::error::CliError;
use super::story::Line;
use super::style::{Style, Tone, printable};

/// Standard output and error, or what a test puts in their place.
pub(crate) struct Screen<O, E> {
    out: O,
    err: E,
    style: Style,
    remarks: bool,
    /// The last text did not end its line.
    open_line: bool,
    /// Control characters in the answer are replaced.
    careful: bool,
}

impl Screen<io::Stdout, io::Stderr> {
    /// The real one.
    pub(crate) fn standard() -> Self {
        Self {
            out: io::stdout(),
            err: io::stderr(),
            style: Style::stderr(),
            remarks: io::stderr().is_terminal(),
            open_line: false,
            careful: io::stdout().is_terminal(),
        }
    }
}

impl<O: Write, E: Write> Screen<O, E> {
    /// Shows lines of a story.
    ///
    /// # Errors
    /// The other end of a pipe is gone.
    pub(crate) fn show(&mut self, lines: Vec<Line>) -> Result<(), CliError> {
        for line in lines {
            match line {
                Line::Text(text) => self.text(&text)?,
                Line::Break => self.end_line()?,
                Line::Note(tone, text) => self.remark(tone, &text)?,
                Line::Word(tone, text) => self.say(tone, &text)?,
            }
        }
        self.out
            .flush()
            .map_err(CliError::io("cannot write to standard output"))
    }

    /// A remark, where somebody reads them.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub(crate) fn remark(&mut self, tone: Tone, text: &str) -> Result<(), CliError> {
        if self.remarks {
            self.say(tone, text)
        } else {
            Ok(())
        }
    }

    /// A line on standard error, whoever reads it.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub(crate) fn say(&mut self, tone: Tone, text: &str) -> Result<(), CliError> {
        self.end_line()?;
        let text = self.style.paint(tone, &printable(text));
        writeln!(self.err, "{text}").map_err(CliError::io("cannot write to standard error"))
    }

    /// A line of JSON on standard output, as it came.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub(crate) fn json_line(&mut self, json: &str) -> Result<(), CliError> {
        // Line breaks in JSON are white space, and would end the line.
        writeln!(self.out, "{}", json.replace(['\n', '\r'], " "))
            .and_then(|()| self.out.flush())
            .map_err(CliError::io("cannot write to standard output"))
    }

    fn text(&mut self, text: &str) -> Result<(), CliError> {
        let shown = if self.careful {
            printable(text)
        } else {
            text.to_owned()
        };
        self.open_line =
            !shown.is_empty() && !shown.ends_with('\n') || self.open_line && shown.is_empty();
        write!(self.out, "{shown}").map_err(CliError::io("cannot write to standard output"))
    }

    fn end_line(&mut self) -> Result<(), CliError> {
        if std::mem::take(&mut self.open_line) {
            writeln!(self.out)
                .and_then(|()| self.out.flush())
                .map_err(CliError::io("cannot write to standard output"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn shown(remarks: bool, lines: Vec<Line>) -> (String, String) {
        let mut screen = Screen {
            out: Vec::new(),
            err: Vec::new(),
            style: Style::PLAIN,
            remarks,
            open_line: false,
            careful: false,
        };
        screen.show(lines).unwrap();
        screen.say(Tone::Plain, "done").unwrap();
        (
            String::from_utf8(screen.out).unwrap(),
            String::from_utf8(screen.err).unwrap(),
        )
    }

    fn lines() -> Vec<Line> {
        vec![
            Line::Note(Tone::Dim, "a".to_owned()),
            Line::Text("It is ".to_owned()),
            Line::Text("84.".to_owned()),
            Line::Break,
            Line::Note(Tone::Dim, "b\x1b[2J".to_owned()),
            Line::Text("more\n".to_owned()),
        ]
    }

    #[test]
    fn the_answer_is_alone_on_standard_output() {
        let (out, err) = shown(false, lines());
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("It is 84.\nmore\n", "done\n")
        );
    }

    #[test]
    fn remarks_begin_on_a_line_of_their_own() {
        let (out, err) = shown(true, lines());
        assert_eq!(out, "It is 84.\nmore\n");
        assert_eq!(err, "a\nb\u{fffd}[2J\ndone\n");
    }
}
