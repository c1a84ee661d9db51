//! The place of an event in the log, as readers see it: `<seq>` for the last event of a commit,
//! `<seq>.<index>` for one before it. A plain sequence therefore means that the whole commit was
//! read, and is what a reader that counts commits (the bus, `min_seq`) would write, too.

use std::fmt;
use std::str::FromStr;

/// A place in the log: everything up to and with it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventCursor {
    /// Sequence of the commit.
    pub(crate) seq: u64,
    /// The last event of it that was read; all of it where absent.
    pub(crate) index: Option<u32>,
}

impl EventCursor {
    /// Before everything.
    pub(crate) const START: Self = Self {
        seq: 0,
        index: None,
    };

    /// The place of event `index` in a commit of `events` events.
    pub(crate) fn of(seq: u64, index: u32, events: u32) -> Self {
        Self {
            seq,
            index: (index + 1 < events).then_some(index),
        }
    }

    /// Whether event `index` of commit `seq` was read.
    pub(crate) fn covers(self, seq: u64, index: u32) -> bool {
        seq < self.seq || (seq == self.seq && self.index.is_none_or(|read| index <= read))
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.seq),
            Some(index) => write!(f, "{}.{index}", self.seq),
        }
    }
}

/// Not a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a place in the log is a sequence such as 120, or with an index, 120.1")]
pub(crate) struct InvalidCursor;

impl FromStr for EventCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then_some(());
        let (seq, index) = match text.split_once('.') {
            None => (text, None),
            Some((seq, index)) => (seq, Some(index)),
        };
        number(seq).ok_or(InvalidCursor)?;
        let index = (index.map(|index| {
            number(index).ok_or(InvalidCursor)?;
            index.parse().map_err(|_| InvalidCursor)
        }))
        .transpose()?;
        let seq = seq.parse().map_err(|_| InvalidCursor)?;
        // Sequences of a stream are positive 63-bit numbers in every store that holds them.
        if seq > i64::MAX.cast_unsigned() {
            return Err(InvalidCursor);
        }
        Ok(Self { seq, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, seq, index) in [("7", 7, None), ("7.0", 7, Some(0)), ("0", 0, None)] {
            let cursor = EventCursor { seq, index };
            assert_eq!(text.parse(), Ok(cursor));
            assert_eq!(cursor.to_string(), text);
        }
        for bad in [
            "",
            ".",
            "7.",
            ".1",
            "-1",
            "+1",
            "7.1.2",
            "a",
            "18446744073709551615",
            " 7",
        ] {
            assert_eq!(bad.parse::<EventCursor>(), Err(InvalidCursor), "{bad}");
        }
    }

    #[test]
    fn the_last_event_of_a_commit_stands_for_all_of_it() {
        assert_eq!(EventCursor::of(7, 1, 2).to_string(), "7");
        assert_eq!(EventCursor::of(7, 0, 2).to_string(), "7.0");
        let middle = EventCursor::of(7, 0, 2);
        assert!(middle.covers(6, 9) && middle.covers(7, 0) && !middle.covers(7, 1));
        let end = EventCursor::of(7, 1, 2);
        assert!(end.covers(7, 1) && !end.covers(8, 0));
        assert!(!EventCursor::START.covers(1, 0));
    }
}
