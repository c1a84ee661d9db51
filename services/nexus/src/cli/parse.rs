//! Values on the command line that clap does not know by itself.

use nexus_events::ledger::OnExhausted;

/// Dollars with up to six decimals, as micro-dollars, exactly.
pub(crate) fn usd_micros(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not an amount such as 0.05 (at most six decimals)");
    let plain = text.strip_prefix('$').unwrap_or(text);
    let (whole, decimals) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && decimals.is_empty())
        || decimals.len() > 6
        || !digits(whole)
        || !digits(decimals)
    {
        return Err(wrong());
    }
    format!("{whole}{decimals:0<6}")
        .parse()
        .map_err(|_| wrong())
}

/// What happens to a step that does not fit.
pub(crate) fn on_exhausted(text: &str) -> Result<OnExhausted, String> {
    let known = OnExhausted::ALL
        .into_iter()
        .find(|rule| rule.as_str() == text);
    known.ok_or_else(|| "it is reject, park, downgrade or approve".to_owned())
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        for (text, micros) in [
            ("1", 1_000_000),
            ("0.05", 50_000),
            ("$2.5", 2_500_000),
            (".000001", 1),
            ("3.", 3_000_000),
        ] {
            assert_eq!(usd_micros(text), Ok(micros), "{text}");
        }
        for bad in [
            "",
            ".",
            "-1",
            "1e3",
            "0.0000001",
            "99999999999999999",
            "1,5",
        ] {
            assert!(usd_micros(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_has_a_key() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("=b").is_err());
        assert!(label("a").is_err());
    }
}
