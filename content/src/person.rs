//! Personal data: what has a form of its own and, where there are any, check digits.

use crate::form::Form;
use crate::look::{Hit, Look, Stop};

type Found = Result<Hit, Stop>;

/// Digits of a card number, and of a phone number.
const CARD: std::ops::RangeInclusive<usize> = 13..=19;
const PHONE: std::ops::RangeInclusive<usize> = 8..=15;

/// Length of an account number by country, both as written without blanks.
const IBAN: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Digits in groups, and where each group ends.
struct Digits {
    all: [u8; 20],
    len: usize,
    /// The place behind a group and how many digits there are until then, the longest last.
    ends: [(usize, usize); 20],
    groups: usize,
}

impl Digits {
    /// Reads digits with at most `most` separators in a row between them, until there are more than
    /// `limit` of them.
    fn read(
        look: &Look<'_>,
        from: usize,
        limit: usize,
        most: usize,
        separates: impl Fn(u8) -> bool,
    ) -> Result<Self, Stop> {
        let mut digits = Self {
            all: [0; 20],
            len: 0,
            ends: [(0, 0); 20],
            groups: 0,
        };
        let mut place = from;
        loop {
            while digits.len <= limit
                && let Some(digit) = look.at(place)?.filter(u8::is_ascii_digit)
            {
                digits.push(digit - b'0');
                place += 1;
            }
            if digits.len > limit {
                return Ok(digits);
            }
            if !look
                .at(place)?
                .is_some_and(|byte| byte.is_ascii_alphanumeric())
            {
                digits.end(place);
            }
            let next = look.run(place, most, &separates)?;
            if next == place || !look.at(next)?.is_some_and(|byte| byte.is_ascii_digit()) {
                return Ok(digits);
            }
            place = next;
        }
    }

    fn push(&mut self, digit: u8) {
        if let Some(slot) = self.all.get_mut(self.len) {
            *slot = digit;
        }
        self.len += 1;
    }

    fn end(&mut self, place: usize) {
        if let Some(slot) = self.ends.get_mut(self.groups) {
            *slot = (place, self.len);
            self.groups += 1;
        }
    }

    /// The longest beginning that ends with a group and is what is looked for.
    fn longest(&self, is_one: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let ends = self.ends.get(..self.groups)?.iter().rev();
        ends.copied()
            .find(|(_, len)| self.all.get(..*len).is_some_and(&is_one))
            .map(|(place, _)| place)
    }
}

/// The number of a payment card.
pub(crate) fn card(look: &Look<'_>) -> Found {
    let digits = Digits::read(look, 0, *CARD.end(), 1, |byte| matches!(byte, b' ' | b'-'))?;
    let end = digits.longest(|digits| CARD.contains(&digits.len()) && is_card(digits));
    end.map(|end| Hit::whole(Form::Card, end)).ok_or(Stop::No)
}

/// The right beginning, and the check digit of Luhn.
fn is_card(digits: &[u8]) -> bool {
    let begins = matches!(
        digits,
        [3, 4..=8, ..] | [4, ..] | [5, 1..=5, ..] | [2, 2..=7, ..] | [6, ..]
    );
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(place, digit)| match (place % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    begins && sum.is_multiple_of(10)
}

/// The number of a bank account.
pub(crate) fn iban(look: &Look<'_>) -> Found {
    let country = [look.need(0)?, look.need(1)?].map(|byte| byte.to_ascii_uppercase());
    let known = IBAN.iter().find(|(name, _)| **name == country);
    let (_, length) = known.ok_or(Stop::No)?;
    let mut symbols = [0; 40];
    let (mut place, mut len) = (0, 0);
    while len < *length {
        let byte = look.need(place)?;
        if byte == b' ' && len >= 4 && look.bytes.get(place - 1) != Some(&b' ') {
            place += 1;
            continue;
        }
        let fits = match len {
            2 | 3 => byte.is_ascii_digit(),
            _ => byte.is_ascii_alphanumeric(),
        };
        let (true, Some(slot)) = (fits, symbols.get_mut(len)) else {
            return Err(Stop::No);
        };
        *slot = byte;
        (place, len) = (place + 1, len + 1);
    }
    let whole = look.ends_word(place)? && rest_of_97(symbols.get(..len).unwrap_or(&[])) == 1;
    match whole {
        true => Ok(Hit::whole(Form::Iban, place)),
        false => Err(Stop::No),
    }
}

/// The number modulo 97, its first four symbols last, letters as 10 to 35.
fn rest_of_97(symbols: &[u8]) -> u32 {
    let (first, rest) = symbols.split_at(symbols.len().min(4));
    rest.iter().chain(first).fold(0, |sum, symbol| {
        let value = char::from(*symbol).to_digit(36).unwrap_or(0);
        match value {
            0..=9 => (sum * 10 + value) % 97,
            _ => (sum * 100 + value) % 97,
        }
    })
}

/// An e-mail address.
pub(crate) fn email(look: &Look<'_>) -> Found {
    let local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte);
    let sign = look.run(0, 64, local)?;
    let mut label = look.word(sign, b"@", false)?;
    let first = label;
    let mut found = Err(Stop::No);
    // Bounded, so that all of it is within the window.
    while label - first < 120 {
        let end = look.run(label, 63, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-'
        })?;
        let top = look.bytes.get(label..end).unwrap_or(&[]);
        let next = look.at(end)?;
        let ends = !next.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-@".contains(&byte));
        let is_top = (2..=24).contains(&top.len()) && top.iter().all(u8::is_ascii_alphabetic);
        if label > first && is_top && ends {
            found = Ok(Hit::whole(Form::Email, end));
        }
        let goes_on = !top.is_empty()
            && next == Some(b'.')
            && look
                .at(end + 1)?
                .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !goes_on {
            break;
        }
        label = end + 1;
    }
    found
}

/// A phone number in international form.
pub(crate) fn phone(look: &Look<'_>) -> Found {
    let from = look.word(0, b"+", false)?;
    if look.before == b'+' || !(b'1'..=b'9').contains(&look.need(from)?) {
        return Err(Stop::No);
    }
    let separates = |byte| matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')');
    let digits = Digits::read(look, from, *PHONE.end(), 2, separates)?;
    let end = digits.longest(|digits| PHONE.contains(&digits.len()));
    end.map(|end| Hit::whole(Form::Phone, end)).ok_or(Stop::No)
}

/// A social security number, as the issuing rules allow it.
pub(crate) fn ssn(look: &Look<'_>) -> Found {
    let group = |from: usize, len: usize| -> Result<u32, Stop> {
        let mut number = 0;
        for place in from..from + len {
            let digit = char::from(look.need(place)?).to_digit(10).ok_or(Stop::No)?;
            number = number * 10 + digit;
        }
        Ok(number)
    };
    let area = group(0, 3)?;
    let separator = look.need(3)?;
    if !matches!(separator, b'-' | b' ') || look.before == b'-' {
        return Err(Stop::No);
    }
    let middle = group(4, 2)?;
    if look.need(6)? != separator {
        return Err(Stop::No);
    }
    let serial = group(7, 4)?;
    let issued = !matches!(area, 0 | 666 | 900..) && middle != 0 && serial != 0;
    let ends = look.ends_word(11)? && look.at(11)? != Some(b'-');
    match issued && ends {
        true => Ok(Hit::whole(Form::Ssn, 11)),
        false => Err(Stop::No),
    }
}

/// An address of IPv4.
pub(crate) fn ip(look: &Look<'_>) -> Found {
    if look.before == b'.' {
        return Err(Stop::No);
    }
    let mut place = 0;
    for part in 0..4 {
        let end = look.run(place, 4, |byte| byte.is_ascii_digit())?;
        let digits = look.bytes.get(place..end).unwrap_or(&[]);
        let number = digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        if !(1..=3).contains(&digits.len()) || number > 255 {
            return Err(Stop::No);
        }
        place = if part < 3 {
            look.word(end, b".", false)?
        } else {
            end
        };
    }
    let goes_on = look.at(place)? == Some(b'.')
        && look
            .at(place + 1)?
            .is_some_and(|byte| byte.is_ascii_digit());
    match look.ends_word(place)? && !goes_on {
        true => Ok(Hit::whole(Form::Ip, place)),
        false => Err(Stop::No),
    }
}
