//! Figures for people: short, with their unit, the same everywhere.

use nexus_events::Timestamp;

/// Micro-dollars: `$0.0012`, and more digits only where the amount would vanish.
pub(crate) fn usd(micros: u64) -> String {
    let (dollars, rest) = (micros / 1_000_000, micros % 1_000_000);
    let digits = format!("{rest:06}");
    let shown = digits.trim_end_matches('0');
    format!("${dollars}.{shown:0<2}")
}

/// Milliseconds: `840 ms`, `5.2 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => {
            let tenths = ms / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Grouped by thousands: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes: `512 B`, `1.5 KiB`, `3.2 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut tenths = n.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A moment in UTC to the second: `2026-11-22 13:16:17`.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

/// One line of at most `width` characters; what is cut ends in an ellipsis.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    let mut space = false;
    for c in super::style::printable(text).chars() {
        if c.is_whitespace() {
            space = !out.is_empty();
            continue;
        }
        let needed = 1 + usize::from(space);
        if length + needed > width {
            while out.chars().count() >= width.max(1) {
                out.pop();
            }
            out.push('…');
            return out;
        }
        if space {
            out.push(' ');
            space = false;
        }
        out.push(c);
        length += needed;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_every_digit_that_matters() {
        for (micros, text) in [
            (0, "$0.00"),
            (1_200, "$0.0012"),
            (1, "$0.000001"),
            (12_500_000, "$12.50"),
        ] {
            assert_eq!(usd(micros), text);
        }
    }

    #[test]
    fn durations_read_well_at_every_size() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (5_249, "5.2 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn counts_and_bytes_are_grouped() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [bytes(512), bytes(1_536), bytes(3_400_000)],
            ["512 B", "1.5 KiB", "3.2 MiB"]
        );
        assert_eq!(bytes(u64::MAX), "1677721.5 TiB");
    }

    #[test]
    fn a_line_is_one_line_and_is_cut_where_it_must() {
        assert_eq!(one_line("  a \n b\t c ", 10), "a b c");
        assert_eq!(one_line("abcdefghij", 5), "abcd…");
        assert_eq!(one_line("abcde", 5), "abcde");
        assert_eq!(one_line("ab cdef", 4), "ab …");
    }

    #[test]
    fn a_moment_is_utc_to_the_second() {
        let at = Timestamp::from_millis(1_795_353_377_328);
        assert_eq!(moment(at), "2026-11-22 13:16:17");
    }
}
