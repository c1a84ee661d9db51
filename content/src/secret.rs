//! Secrets: keys of vendors by the forms that they document, and whatever stands where a secret
//! stands. A general measure of randomness would take every digest for one.

use crate::form::Form;
use crate::look::{Hit, Look, Stop, Then, is_word};

type Found = Result<Hit, Stop>;

/// A key that begins with a word of its vendor's.
struct Prefixed {
    form: Form,
    prefix: &'static str,
    /// What it is made of after that.
    of: fn(u8) -> bool,
    /// At least so many of them.
    least: usize,
    /// Exactly so many, and the word ends there.
    exact: bool,
}

const fn key(prefix: &'static str, of: fn(u8) -> bool, least: usize) -> Prefixed {
    Prefixed {
        form: Form::ApiKey,
        prefix,
        of,
        least,
        exact: false,
    }
}

const fn token(prefix: &'static str, of: fn(u8) -> bool, least: usize) -> Prefixed {
    Prefixed {
        form: Form::Token,
        ..key(prefix, of, least)
    }
}

const fn exact(prefix: &'static str, of: fn(u8) -> bool, least: usize) -> Prefixed {
    Prefixed {
        exact: true,
        ..key(prefix, of, least)
    }
}

/// By the first byte, so that a word is compared with few of them.
const PREFIXED: &[Prefixed] = &[
    // age, AWS, Google.
    key("AGE-SECRET-KEY-1", upper, 50),
    exact("AIDA", upper, 16),
    key("AIza", dashed, 35),
    exact("AKIA", upper, 16),
    exact("AROA", upper, 16),
    exact("ASIA", upper, 16),
    // Google's OAuth clients, SendGrid, Twilio.
    key("GOCSPX-", dashed, 20),
    key("SG.", dotted, 40),
    exact("SK", hex, 32),
    exact("dapi", hex, 32),
    token("dop_v1_", hex, 64),
    token("gho_", alphanumeric, 36),
    token("ghp_", alphanumeric, 36),
    token("ghr_", alphanumeric, 36),
    token("ghs_", alphanumeric, 36),
    token("ghu_", alphanumeric, 36),
    token("github_pat_", is_word, 40),
    token("glpat-", dashed, 20),
    // Groq, Hugging Face, Vault.
    key("gsk_", alphanumeric, 40),
    token("hf_", alphanumeric, 30),
    token("hvs.", dashed, 24),
    exact("key-", hex, 32),
    token("npm_", alphanumeric, 36),
    key("pplx-", alphanumeric, 40),
    token("pypi-", dashed, 40),
    token("r8_", alphanumeric, 36),
    key("rk_live_", alphanumeric, 16),
    key("rk_test_", alphanumeric, 16),
    token("shpat_", hex, 32),
    token("shpss_", hex, 32),
    // OpenAI, Anthropic and those who write keys as they do.
    key("sk-", dashed, 20),
    key("sk_live_", alphanumeric, 16),
    key("sk_test_", alphanumeric, 16),
    key("whsec_", base64, 32),
    key("xai-", alphanumeric, 40),
    token("xapp-", dashed, 20),
    token("xoxa-", dashed, 10),
    token("xoxb-", dashed, 10),
    token("xoxe-", dashed, 10),
    token("xoxo-", dashed, 10),
    token("xoxp-", dashed, 10),
    token("xoxr-", dashed, 10),
    token("xoxs-", dashed, 10),
    token("ya29.", dashed, 20),
];

/// Where the entries of a first byte begin and end.
const INDEX: [(u8, u8); 256] = {
    let mut index = [(0, 0); 256];
    let mut at = 0;
    while at < PREFIXED.len() {
        let first = PREFIXED[at].prefix.as_bytes()[0] as usize;
        if index[first].1 == 0 {
            index[first].0 = at as u8;
        }
        at += 1;
        index[first].1 = at as u8;
    }
    index
};

/// Names of what is secret.
const NAMES: &[&str] = &[
    "access_token",
    "access-token",
    "accesstoken",
    "api_key",
    "api-key",
    "apikey",
    "client_secret",
    "client-secret",
    "clientsecret",
    "passwd",
    "password",
    "secret_access_key",
    "secret-access-key",
    "secretaccesskey",
    "secret_key",
    "secret-key",
    "secretkey",
];

/// Blanks that are looked over at most.
const BLANKS: usize = 8;
const BEGINS: &[u8] = b"-----BEGIN ";
const ENDS: &[u8] = b"-----END ";
const PRIVATE: &[u8] = b"PRIVATE KEY";

/// Whether a vendor's key begins with this byte.
pub(crate) fn begins_key(byte: u8) -> bool {
    INDEX
        .get(usize::from(byte))
        .is_some_and(|place| place.1 > 0)
}

/// A key that begins with a word of its vendor's.
pub(crate) fn prefixed(look: &Look<'_>) -> Found {
    let first = look.need(0)?;
    let (from, to) = INDEX.get(usize::from(first)).copied().unwrap_or((0, 0));
    let mut stop = Stop::No;
    for one in PREFIXED
        .get(usize::from(from)..usize::from(to))
        .unwrap_or(&[])
    {
        match one.find(look) {
            Err(Stop::No) => {}
            // A later one may be there already; all of them are redacted in the same way.
            Err(Stop::More) => stop = Stop::More,
            found if stop == Stop::No => return found,
            Ok(_) => {}
        }
    }
    Err(stop)
}

impl Prefixed {
    fn find(&self, look: &Look<'_>) -> Found {
        let from = look.word(0, self.prefix.as_bytes(), false)?;
        let end = look.run(from, self.least, self.of)?;
        if end - from < self.least || (self.exact && !look.ends_word(end)?) {
            return Err(Stop::No);
        }
        Ok(Hit {
            then: match self.exact {
                true => Then::Nothing,
                false => Then::While(self.of),
            },
            ..Hit::whole(self.form, end)
        })
    }
}

/// A signed token: header and payload in base64, the header begins with `{"`.
pub(crate) fn jwt(look: &Look<'_>) -> Found {
    let from = look.word(0, b"eyJ", false)?;
    let dot = look.run(from, 180, dashed)?;
    let payload = look.word(dot, b".", false)?;
    let end = look.run(payload, 8, dashed)?;
    if dot - from < 8 || end - payload < 8 {
        return Err(Stop::No);
    }
    Ok(Hit {
        then: Then::While(dotted),
        ..Hit::whole(Form::Token, end)
    })
}

/// `Bearer` and a token.
pub(crate) fn bearer(look: &Look<'_>) -> Found {
    let keep = blanks(look, look.word(0, b"bearer", true)?, 1)?;
    let of = |byte| dotted(byte) || matches!(byte, b'~' | b'+' | b'/');
    let end = look.run(keep, 16, of)?;
    if end - keep < 16 {
        return Err(Stop::No);
    }
    Ok(Hit {
        form: Form::Token,
        keep,
        len: end,
        then: Then::While(|byte| dotted(byte) || matches!(byte, b'~' | b'+' | b'/' | b'=')),
    })
}

/// `Authorization: Basic` and what follows.
pub(crate) fn basic(look: &Look<'_>) -> Found {
    let colon = look.word(0, b"authorization:", true)?;
    let word = look.word(blanks(look, colon, 0)?, b"basic", true)?;
    let keep = blanks(look, word, 1)?;
    let end = look.run(keep, 8, base64)?;
    if end - keep < 8 {
        return Err(Stop::No);
    }
    Ok(Hit {
        form: Form::Password,
        keep,
        len: end,
        then: Then::While(base64),
    })
}

/// A password in an address: `scheme://user:password@host`.
pub(crate) fn in_address(look: &Look<'_>) -> Found {
    let scheme = look.run(0, 21, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-')
    })?;
    let user = look.word(scheme, b"://", false)?;
    let inside = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'@');
    let colon = look.run(user, 64, |byte| inside(byte) && byte != b':')?;
    let keep = look.word(colon, b":", false)?;
    let end = look.run(keep, 128, inside)?;
    if end == keep || look.need(end)? != b'@' || is_redacted(look, keep)? {
        return Err(Stop::No);
    }
    Ok(Hit {
        keep,
        ..Hit::whole(Form::Password, end)
    })
}

/// A name of something secret, and its value: `password = …`.
pub(crate) fn named(look: &Look<'_>) -> Found {
    let mut stop = Stop::No;
    for name in NAMES {
        match look.word(0, name.as_bytes(), true) {
            Ok(end) => return value(look, end),
            Err(Stop::More) => stop = Stop::More,
            Err(Stop::No) => {}
        }
    }
    Err(stop)
}

fn value(look: &Look<'_>, name: usize) -> Found {
    let quote = |byte| matches!(byte, b'"' | b'\'');
    let sign = blanks(look, look.run(name, 1, quote)?, 0)?;
    let after = look.run(sign, 1, |byte| matches!(byte, b'=' | b':'))?;
    if after == sign {
        return Err(Stop::No);
    }
    let keep = look.run(blanks(look, after, 0)?, 1, quote)?;
    let of = |byte: u8| !byte.is_ascii_whitespace() && !b"\"',;&".contains(&byte);
    let end = look.run(keep, 8, of)?;
    if end - keep < 8 || is_redacted(look, keep)? {
        return Err(Stop::No);
    }
    Ok(Hit {
        form: Form::Password,
        keep,
        len: end,
        then: Then::While(|byte| !byte.is_ascii_whitespace() && !b"\"',;&".contains(&byte)),
    })
}

/// The beginning of a private key.
pub(crate) fn private_key(look: &Look<'_>) -> Found {
    let end = armour(look, BEGINS)?;
    Ok(Hit {
        then: Then::PrivateKey,
        ..Hit::whole(Form::PrivateKey, end)
    })
}

/// Where the end of a private key ends, if it is here.
pub(crate) fn private_key_end(look: &Look<'_>) -> Result<usize, Stop> {
    armour(look, ENDS)
}

/// `-----BEGIN … PRIVATE KEY-----`.
fn armour(look: &Look<'_>, begins: &[u8]) -> Result<usize, Stop> {
    let name = look.word(0, begins, false)?;
    let capital = |byte: u8| upper(byte) || byte == b' ';
    let dashes = look.run(name, 60, capital)?;
    let words = look.bytes.get(name..dashes).unwrap_or(&[]);
    let words = words.strip_suffix(b" BLOCK").unwrap_or(words);
    if !words.ends_with(PRIVATE) {
        return Err(Stop::No);
    }
    look.word(dashes, b"-----", false)
}

/// What was left out before is no secret.
fn is_redacted(look: &Look<'_>, place: usize) -> Result<bool, Stop> {
    match look.word(place, b"[redacted", false) {
        Ok(_) => Ok(true),
        Err(Stop::No) => Ok(false),
        Err(Stop::More) => Err(Stop::More),
    }
}

fn blanks(look: &Look<'_>, place: usize, least: usize) -> Result<usize, Stop> {
    let end = look.run(place, BLANKS, |byte| matches!(byte, b' ' | b'\t'))?;
    match end - place < least {
        true => Err(Stop::No),
        false => Ok(end),
    }
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn dashed(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

fn dotted(byte: u8) -> bool {
    dashed(byte) || byte == b'.'
}

fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_first_byte_stand_together() {
        let firsts: Vec<u8> = (PREFIXED.iter())
            .map(|one| one.prefix.as_bytes()[0])
            .collect();
        assert!(firsts.is_sorted(), "{PREFIXES:?}", PREFIXES = firsts);
        assert!(PREFIXED.iter().all(|one| {
            let window = one.prefix.len() + one.least + 1;
            window < crate::scan::WINDOW && begins_key(one.prefix.as_bytes()[0])
        }));
    }
}
