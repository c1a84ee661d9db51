//! Walks over a text, byte by byte, and asks the probes where something may begin. Most bytes are
//! passed with one look at a table: what begins neither a word nor an armour begins nothing.

use std::borrow::Cow;
use std::sync::OnceLock;

use nexus_events::content::Class;

use crate::form::{Classes, Form};
use crate::look::{Hit, Look, Stop, Then};
use crate::{person, secret};

/// What a probe may look at, in bytes: nothing is held back for longer.
pub const WINDOW: usize = 256;
/// Bytes after the beginning of a private key that are taken for it where its end does not come.
const PRIVATE_KEY: usize = 64 * 1024;

type Probe = fn(&Look<'_>) -> Result<Hit, Stop>;

/// A probe, its class, and the bytes that what it finds can begin with.
struct Known {
    class: Class,
    probe: Probe,
    begins: fn(u8) -> bool,
}

/// In the order of precedence, where two begin at one place.
const KNOWN: [Known; 13] = [
    known(Class::Secret, secret::private_key, |b| b == b'-'),
    known(Class::Secret, secret::prefixed, secret::begins_key),
    known(Class::Secret, secret::jwt, |b| b == b'e'),
    known(Class::Secret, secret::bearer, |b| matches!(b, b'b' | b'B')),
    known(Class::Secret, secret::basic, |b| matches!(b, b'a' | b'A')),
    known(Class::Secret, secret::named, |b| b"aApPcCsS".contains(&b)),
    known(Class::Secret, secret::in_address, |b| {
        b.is_ascii_alphabetic()
    }),
    known(Class::Card, person::card, |b| b.is_ascii_digit()),
    known(Class::Iban, person::iban, |b| b.is_ascii_alphabetic()),
    known(Class::Ssn, person::ssn, |b| b.is_ascii_digit()),
    known(Class::Ip, person::ip, |b| b.is_ascii_digit()),
    known(Class::Email, person::email, |b| b.is_ascii_alphanumeric()),
    known(Class::Phone, person::phone, |b| b == b'+'),
];

const fn known(class: Class, probe: Probe, begins: fn(u8) -> bool) -> Known {
    Known {
        class,
        probe,
        begins,
    }
}

/// A piece of what was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// It passes.
    Plain(&'t str),
    /// Something was found here.
    Hit(Form),
}

/// What belongs to what was found last.
#[derive(Clone, Copy, Debug)]
enum Inside {
    While(fn(u8) -> bool),
    PrivateKey { left: usize },
}

/// For each byte, the probes that it may begin something for, by their place in [`KNOWN`].
fn table() -> &'static [u16; 256] {
    static TABLE: OnceLock<[u16; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [0; 256];
        for (byte, bits) in (0..=u8::MAX).zip(&mut table) {
            for (place, known) in KNOWN.iter().enumerate() {
                *bits |= u16::from((known.begins)(byte)) << place;
            }
        }
        table
    })
}

/// A scan that may go on with more text.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// The probes that are asked.
    asked: u16,
    table: &'static [u16; 256],
    before: u8,
    inside: Option<Inside>,
}

impl Scan {
    pub(crate) fn new(classes: Classes) -> Self {
        let asked = KNOWN.iter().enumerate();
        let asked = asked.filter(|(_, known)| classes.has(known.class));
        Self {
            asked: asked.fold(0, |bits, (place, _)| bits | 1 << place),
            table: table(),
            before: b' ',
            inside: None,
        }
    }

    /// Scans as much of the text as is decided, and says how much that was: less than a window is
    /// left, and none where the text has `ended`. What is left comes again, with more behind it.
    pub(crate) fn run<'t>(
        &mut self,
        text: &'t str,
        ended: bool,
        each: &mut dyn FnMut(Piece<'t>),
    ) -> usize {
        let bytes = text.as_bytes();
        let (mut at, mut plain) = (0, 0);
        let pass = |from: usize, to: usize| match text.get(from..to) {
            None | Some("") => None,
            Some(passed) => Some(Piece::Plain(passed)),
        };
        loop {
            if self.inside.is_some() {
                at += self.inside_of(bytes.get(at..).unwrap_or(&[]), ended);
                plain = at;
                if self.inside.is_some() {
                    return at;
                }
            }
            let Some(byte) = bytes.get(at) else { break };
            match self.look(bytes, at, *byte, ended) {
                Err(Stop::No) => {
                    self.before = *byte;
                    at += 1;
                }
                Err(Stop::More) => break,
                Ok(hit) => {
                    pass(plain, at + hit.keep).into_iter().for_each(&mut *each);
                    each(Piece::Hit(hit.form));
                    at += hit.len;
                    plain = at;
                    // As whoever reads what takes its place will see it.
                    self.before = b']';
                    self.inside = match hit.then {
                        Then::Nothing => None,
                        Then::While(of) => Some(Inside::While(of)),
                        Then::PrivateKey => Some(Inside::PrivateKey { left: PRIVATE_KEY }),
                    };
                }
            }
        }
        pass(plain, at).into_iter().for_each(each);
        at
    }

    /// What begins at a byte. Only what is within the window counts, however much of it is there:
    /// else how the text was cut would decide.
    fn look(&self, bytes: &[u8], at: usize, byte: u8, ended: bool) -> Result<Hit, Stop> {
        let mut probes = self.table.get(usize::from(byte)).copied().unwrap_or(0) & self.asked;
        if probes == 0 || (self.before.is_ascii_alphanumeric() && byte != b'-') {
            return Err(Stop::No);
        }
        let rest = bytes.get(at..).unwrap_or(&[]);
        let cut = rest.len() >= WINDOW;
        let look = Look {
            before: self.before,
            bytes: rest.get(..WINDOW).unwrap_or(rest),
            ended: ended && !cut,
        };
        while probes != 0 {
            let place = probes.trailing_zeros() as usize;
            probes &= probes - 1;
            let Some(known) = KNOWN.get(place) else { break };
            match (known.probe)(&look) {
                Err(Stop::No) => {}
                Err(Stop::More) if cut => {}
                found => return found,
            }
        }
        Err(Stop::No)
    }

    /// Passes over what belongs to what was found; gives how many bytes.
    fn inside_of(&mut self, bytes: &[u8], ended: bool) -> usize {
        match self.inside {
            None => 0,
            Some(Inside::While(of)) => {
                let passed = bytes.iter().take_while(|byte| of(**byte)).count();
                if passed < bytes.len() || ended {
                    self.inside = None;
                }
                passed
            }
            Some(Inside::PrivateKey { left }) => {
                let (passed, inside) = private_key(bytes, left, ended);
                self.inside = inside;
                passed
            }
        }
    }
}

/// Passes over a private key to its end, or as far as it may be long.
fn private_key(bytes: &[u8], left: usize, ended: bool) -> (usize, Option<Inside>) {
    for (at, byte) in bytes.iter().enumerate() {
        let begins_char = byte & 0xc0 != 0x80;
        if at >= left && begins_char {
            return (at, None);
        }
        if *byte != b'-' {
            continue;
        }
        let rest = bytes.get(at..).unwrap_or(&[]);
        let look = Look {
            before: b' ',
            bytes: rest,
            ended,
        };
        match secret::private_key_end(&look) {
            Ok(len) => return (at + len, None),
            Err(Stop::No) => {}
            Err(Stop::More) => {
                let left = left.saturating_sub(at);
                return (at, Some(Inside::PrivateKey { left }));
            }
        }
    }
    let left = left.saturating_sub(bytes.len());
    let inside = (!ended).then_some(Inside::PrivateKey { left });
    (bytes.len(), inside)
}

/// The forms of these classes in a text, in order.
pub fn forms(text: &str, classes: Classes) -> Vec<Form> {
    let mut found = vec![];
    if !classes.is_empty() {
        Scan::new(classes).run(text, true, &mut |piece| {
            if let Piece::Hit(form) = piece {
                found.push(form);
            }
        });
    }
    found
}

/// The text with a word of the caller's in the place of what is of these classes.
pub fn replace<'t>(
    text: &'t str,
    classes: Classes,
    mut word: impl FnMut(Form) -> Cow<'static, str>,
) -> Cow<'t, str> {
    let mut replaced = String::new();
    let mut any = false;
    if !classes.is_empty() {
        Scan::new(classes).run(text, true, &mut |piece| match piece {
            Piece::Plain(passed) => replaced.push_str(passed),
            Piece::Hit(form) => {
                any = true;
                replaced.push_str(&word(form));
            }
        });
    }
    match any {
        true => Cow::Owned(replaced),
        false => Cow::Borrowed(text),
    }
}
