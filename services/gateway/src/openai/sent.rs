//! A text that was sent in pieces, and how to go on with it when its writer begins anew. What was sent
//! cannot be taken back: a new attempt that says the same goes on where the old one stopped, and one
//! that says something else cannot be told in the same stream.

/// The writer says something else than what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Diverged;

/// What was sent of a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    text: String,
    /// While a new attempt repeats what was sent: how much of it.
    repeated: Option<usize>,
}

impl Sent {
    /// The writer begins anew.
    pub(crate) fn restart(&mut self) {
        self.repeated = Some(0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What of the next piece is to be sent.
    pub(crate) fn piece<'a>(&mut self, piece: &'a str) -> Result<&'a str, Diverged> {
        let Some(at) = self.repeated else {
            self.text.push_str(piece);
            return Ok(piece);
        };
        let known = self.text.get(at..).ok_or(Diverged)?;
        if known.len() > piece.len() && known.starts_with(piece) {
            self.repeated = Some(at + piece.len());
            return Ok("");
        }
        let new = piece.strip_prefix(known).ok_or(Diverged)?;
        self.repeated = None;
        self.text.push_str(new);
        Ok(new)
    }

    /// What is to be sent for the whole to have been.
    pub(crate) fn whole<'a>(&mut self, whole: &'a str) -> Result<&'a str, Diverged> {
        let rest = whole.strip_prefix(self.text.as_str()).ok_or(Diverged)?;
        self.text.push_str(rest);
        self.repeated = None;
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_says_the_same_goes_on() {
        let mut sent = Sent::default();
        assert_eq!(sent.piece("Grüß "), Ok("Grüß "));
        sent.restart();
        for (piece, new) in [("Gr", ""), ("üß", ""), (" Gott", "Gott"), ("!", "!")] {
            assert_eq!(sent.piece(piece), Ok(new));
        }
        assert_eq!(sent.whole("Grüß Gott!!"), Ok("!"));
    }

    #[test]
    fn one_that_says_something_else_does_not() {
        let mut sent = Sent::default();
        assert_eq!(sent.piece("Hello"), Ok("Hello"));
        assert_eq!(sent.whole("Hell"), Err(Diverged));
        sent.restart();
        assert_eq!(sent.piece("He"), Ok(""));
        assert_eq!(sent.piece("y"), Err(Diverged));
    }

    #[test]
    fn what_was_lost_on_the_way_is_in_the_whole() {
        let mut sent = Sent::default();
        assert_eq!(sent.whole("all of it"), Ok("all of it"));
        assert_eq!(sent.whole("all of it"), Ok(""));
    }
}
