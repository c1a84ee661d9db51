//! Colours, where there is a terminal to show them and nobody said no.
//!
//! Six escape sequences do not need a crate; what they are is fixed since ECMA-48.

use std::io::IsTerminal;

/// Whether text is decorated, and whether it goes to a person at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };
    #[cfg(test)]
    pub(crate) const COLOUR: Self = Self { colour: true };

    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self::on(std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self::on(std::io::stderr().is_terminal())
    }

    fn on(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: terminal && !set("NO_COLOR") && !dumb,
        }
    }

    /// The text in its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Dim => "2",
            Tone::Bold => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The tone of a status, wherever one is shown.
pub(crate) fn tone_of_status(status: &str) -> Tone {
    match status {
        "completed" | "active" | "ok" | "allowed" => Tone::Good,
        "failed" | "denied" | "fail" => Tone::Bad,
        "cancelled" | "paused" | "waiting" | "warn" | "abandoned" => Tone::Warn,
        "closed" | "expired" | "skipped" => Tone::Dim,
        _ => Tone::Plain,
    }
}

/// Text of others, made safe for a terminal: control characters other than line breaks and tabs
/// could move the cursor, hide text or rename the window.
pub(crate) fn printable(text: &str) -> String {
    let harmful = |c: char| (c.is_control() && c != '\n' && c != '\t') || is_bidi_control(c);
    if text.contains(harmful) {
        text.chars()
            .map(|c| if harmful(c) { '\u{fffd}' } else { c })
            .collect()
    } else {
        text.to_owned()
    }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_added_only_where_it_is_wanted() {
        assert_eq!(Style::PLAIN.paint(Tone::Bad, "no"), "no");
        assert_eq!(Style::COLOUR.paint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(Style::COLOUR.paint(Tone::Plain, "no"), "no");
    }

    #[test]
    fn what_a_model_says_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\r\n\tc\u{202e}"),
            "a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}"
        );
        assert_eq!(printable("größer\n"), "größer\n");
    }
}
