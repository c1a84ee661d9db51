//! What a probe sees: some bytes from where something may begin, and whether more may come.

use crate::form::Form;

/// Why a probe found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It does not begin here, whatever comes.
    No,
    /// What comes decides.
    More,
}

/// What follows a hit and belongs to it, however long it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// All bytes of this kind.
    While(fn(u8) -> bool),
    /// Everything up to the end of a private key.
    PrivateKey,
}

/// Something was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// What.
    pub(crate) form: Form,
    /// So many bytes before it stay, as `Bearer ` before a token.
    pub(crate) keep: usize,
    /// Bytes up to where it ends, those that stay included.
    pub(crate) len: usize,
    /// What belongs to it beyond.
    pub(crate) then: Then,
}

impl Hit {
    pub(crate) fn whole(form: Form, len: usize) -> Self {
        Self {
            form,
            keep: 0,
            len,
            then: Then::Nothing,
        }
    }
}

/// The bytes from a place on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'b> {
    /// The byte before; a blank at the beginning.
    pub(crate) before: u8,
    /// At most a window of them.
    pub(crate) bytes: &'b [u8],
    /// Nothing comes after them.
    pub(crate) ended: bool,
}

impl<'b> Look<'b> {
    /// The byte at a place; none at the end of the text.
    pub(crate) fn at(&self, place: usize) -> Result<Option<u8>, Stop> {
        match self.bytes.get(place) {
            Some(byte) => Ok(Some(*byte)),
            None if self.ended => Ok(None),
            None => Err(Stop::More),
        }
    }

    /// The byte at a place, which must be there.
    pub(crate) fn need(&self, place: usize) -> Result<u8, Stop> {
        self.at(place)?.ok_or(Stop::No)
    }

    /// The place behind a word that must be at this place; without regard to case where `fold` says
    /// so.
    pub(crate) fn word(&self, place: usize, word: &[u8], fold: bool) -> Result<usize, Stop> {
        for (index, wanted) in word.iter().enumerate() {
            let byte = self.need(place + index)?;
            let same = byte == *wanted || (fold && byte.eq_ignore_ascii_case(wanted));
            if !same {
                return Err(Stop::No);
            }
        }
        Ok(place + word.len())
    }

    /// The place behind the bytes of a kind, of which at most `most` are taken.
    pub(crate) fn run(
        &self,
        place: usize,
        most: usize,
        kind: impl Fn(u8) -> bool,
    ) -> Result<usize, Stop> {
        let mut end = place;
        while end - place < most && self.at(end)?.is_some_and(&kind) {
            end += 1;
        }
        Ok(end)
    }

    /// Whether a word ends at a place.
    pub(crate) fn ends_word(&self, place: usize) -> Result<bool, Stop> {
        Ok(!self.at(place)?.is_some_and(is_word))
    }
}

/// Letters, digits and the underscore.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
