//! Values on the command line that clap does not know by itself.

use nexus_events::ledger::OnExhausted;
use nexus_events::session::OnBusy;

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

/// What a run gets whose conversation is busy.
pub(crate) fn on_busy(text: &str) -> Result<OnBusy, String> {
    let known = OnBusy::ALL.into_iter().find(|way| way.as_str() == text);
    known.ok_or_else(|| "it is reject, enqueue, interrupt or rollback".to_owned())
}

/// `90d`, `12h`, `30m`, `45s`.
pub(crate) fn span_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span of time such as 90d, 12h or 30m");
    let (number, unit) = text
        .char_indices()
        .next_back()
        .and_then(|(at, _)| text.split_at_checked(at))
        .ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
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

    #[test]
    fn spans_are_a_number_and_a_unit() {
        assert_eq!(span_ms("90d"), Ok(90 * 86_400_000));
        assert_eq!(span_ms("0s"), Ok(0));
        for bad in [
            "",
            "d",
            "5",
            "1.5h",
            "-1h",
            "5y",
            "99999999999999999d",
            "５d",
        ] {
            assert!(span_ms(bad).is_err(), "{bad}");
        }
    }
}
