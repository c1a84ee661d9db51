//! Filters a text that comes in fragments. Two stages, each of which emits the same however its
//! input was cut, so that both together do: what has a form, then what the list names.

use nexus_events::content::{Action, Class};

use crate::deny::{self, Deny};
use crate::scan::{Piece, Scan, WINDOW};
use crate::side::{Side, Tally};

/// More than a character, which decides whether a word ends.
const EDGE: usize = 4;
/// Bytes that are held back at most.
pub const MOST_HELD: usize = WINDOW + deny::LONGEST + 2 * EDGE;

/// A filter of one text.
#[derive(Debug)]
pub struct Stream {
    side: Side,
    scan: Scan,
    /// Not decided yet.
    held: String,
    list: List,
    tally: Tally,
    refused: Option<Class>,
}

impl Stream {
    /// A filter that leaves out what is to be left out on this side, and stops at what is refused.
    pub fn new(side: &Side) -> Self {
        Self {
            scan: Scan::new(side.with(Action::Redact).or(side.with(Action::Refuse))),
            held: String::new(),
            list: List::default(),
            tally: Tally::default(),
            refused: None,
            side: side.clone(),
        }
    }

    /// Takes a fragment; gives what of the text so far passes and was not given before.
    pub fn push(&mut self, fragment: &str) -> String {
        self.go_on(fragment, false)
    }

    /// Nothing more comes; gives the rest.
    pub fn finish(&mut self) -> String {
        self.go_on("", true)
    }

    /// What was met that is refused; nothing was given from there on.
    pub fn refused(&self) -> Option<Class> {
        self.refused
    }

    /// What was left out or refused so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Bytes that are held back now.
    #[cfg(test)]
    pub(crate) fn holds(&self) -> usize {
        self.held.len() + self.list.held.len()
    }

    fn go_on(&mut self, fragment: &str, ended: bool) -> String {
        if self.refused.is_some() {
            return String::new();
        }
        self.held.push_str(fragment);
        let Self {
            side,
            scan,
            held,
            list,
            tally,
            refused,
        } = self;
        let mut passed = String::new();
        let done = scan.run(held, ended, &mut |piece| match piece {
            _ if refused.is_some() => {}
            Piece::Plain(text) => passed.push_str(text),
            Piece::Hit(form) => note(side, form.class(), &mut passed, tally, refused),
        });
        held.drain(..done);
        let Some(deny) = side
            .deny()
            .filter(|_| side.action(Class::Denied) > Some(Action::Mark))
        else {
            return passed;
        };
        // What was found first is what is refused.
        let before = refused.take();
        list.held.push_str(&passed);
        let ended = ended || before.is_some();
        let mut out = String::new();
        list.run(deny, ended, &mut out, &mut |out| {
            note(side, Class::Denied, out, tally, refused);
            refused.is_none()
        });
        *refused = refused.take().or(before);
        out
    }
}

fn note(
    side: &Side,
    class: Class,
    out: &mut String,
    tally: &mut Tally,
    refused: &mut Option<Class>,
) {
    tally.count(class);
    match side.action(class) {
        Some(Action::Refuse) => *refused = Some(class),
        _ => {
            out.push_str("[redacted:");
            out.push_str(class.name());
            out.push(']');
        }
    }
}

/// The stage of the list.
#[derive(Debug, Default)]
struct List {
    /// Not decided yet, and before it the last character that was.
    held: String,
    /// Where the undecided begins.
    from: usize,
}

impl List {
    /// A match that begins where the longest one and the character behind it are still there is the
    /// first one of the whole text too.
    fn run(
        &mut self,
        deny: &Deny,
        ended: bool,
        out: &mut String,
        found: &mut dyn FnMut(&mut String) -> bool,
    ) {
        let safe = match ended {
            true => self.held.len(),
            false => self.held.len().saturating_sub(deny.longest + EDGE),
        };
        let safe = floor(&self.held, safe).max(self.from);
        let mut at = self.from;
        while let Some(hit) = deny.regex.find_at(&self.held, at)
            && (hit.start() < safe || ended)
        {
            out.push_str(self.held.get(at..hit.start()).unwrap_or_default());
            at = hit.end();
            if !found(out) {
                return;
            }
        }
        let rest = safe.max(at);
        out.push_str(self.held.get(at..rest).unwrap_or_default());
        // A character stays, which says whether a word begins behind it.
        let keep = floor(&self.held, rest.saturating_sub(1));
        self.held.drain(..keep);
        self.from = rest - keep;
    }
}

/// The nearest place at or before this one where a character begins.
fn floor(text: &str, mut place: usize) -> usize {
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}
