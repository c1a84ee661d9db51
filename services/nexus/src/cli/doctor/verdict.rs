//! When a figure is good, worth a look, or bad: pure, in one place.

use nexus_devstack::Version;

use super::finding::Finding;
use crate::cli::format::{bytes, count, duration};

/// Message schedules came with it.
const NATS_NEEDED: Version = Version::new(2, 12, 0);
/// Reservations expire and policies decide by the clock.
const SKEW_WARN_MS: u64 = 500;
const SKEW_FAIL_MS: u64 = 5_000;
const LAG_WARN: u64 = 1_000;
const LAG_FAIL: u64 = 100_000;
const FREE_WARN_BYTES: u64 = 5 << 30;
const FREE_FAIL_BYTES: u64 = 512 << 20;

/// The bus's version.
pub(crate) fn nats_version(text: &str) -> Finding {
    let check = "NATS version";
    let advice = format!("run nats-server {NATS_NEEDED} or newer");
    match Version::parse(text) {
        Some(version) if version >= NATS_NEEDED => Finding::ok(check, text),
        Some(_) => Finding::fail(check, text, advice),
        None => Finding::warn(check, format!("{text:?} is no version"), advice),
    }
}

/// This machine's clock against the bus's.
pub(crate) fn skew(skew_ms: u64) -> Finding {
    let (check, found) = ("clock", format!("{} from NATS", duration(skew_ms)));
    let advice = "let both machines set their clocks by NTP: reservations and limits go by them";
    match skew_ms {
        0..SKEW_WARN_MS => Finding::ok(check, found),
        SKEW_WARN_MS..SKEW_FAIL_MS => Finding::warn(check, found, advice),
        _ => Finding::fail(check, found, advice),
    }
}

/// How far the read models are behind.
pub(crate) fn lag(log_seq: u64, applied: u64) -> Finding {
    let check = "projection lag";
    let behind = log_seq.saturating_sub(applied);
    let found = format!("{} commits behind {}", count(behind), count(log_seq));
    let advice = "is the projector role running? its log says what holds it up";
    match behind {
        0..LAG_WARN => Finding::ok(check, found),
        LAG_WARN..LAG_FAIL => Finding::warn(check, found, advice),
        _ => Finding::fail(check, found, advice),
    }
}

/// Commands that were laid aside.
pub(crate) fn dead_letters(letters: u64) -> Finding {
    match letters {
        0 => Finding::ok("dead letters", "none"),
        _ => Finding::warn(
            "dead letters",
            count(letters),
            "`nexus dlq list` says why; `nexus dlq redrive-all` once the cause is gone",
        ),
    }
}

/// Room where the data is.
pub(crate) fn disk(free: u64, total: u64) -> Finding {
    let check = "disk space";
    let percent = free.saturating_mul(100) / total.max(1);
    let found = format!("{} free ({percent} %)", bytes(free));
    let advice = "make room: NATS and Postgres stop taking writes when the disk is full";
    if free < FREE_FAIL_BYTES {
        Finding::fail(check, found, advice)
    } else if free < FREE_WARN_BYTES.min(total / 5) {
        Finding::warn(check, found, advice)
    } else {
        Finding::ok(check, found)
    }
}

/// The tables' version against this program's.
pub(crate) fn migrations(applied: Option<i64>, known: i64) -> Finding {
    let check = "migrations";
    match applied {
        None => Finding::fail(
            check,
            "there are no tables",
            "start the projector role: it makes them",
        ),
        Some(applied) if applied < known => Finding::fail(
            check,
            format!("at {applied}, this program knows {known}"),
            "restart the projector role in this version: it brings them up to date",
        ),
        Some(applied) if applied > known => Finding::warn(
            check,
            format!("at {applied}, this program knows {known}"),
            "this program is older than the tables; use the newer one",
        ),
        Some(applied) => Finding::ok(check, format!("current ({applied})")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{self, Fail, Ok, Warn};
    use super::*;

    fn each(found: impl IntoIterator<Item = (Finding, Verdict)>) {
        for (finding, verdict) in found {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.advice.is_some(), verdict != Ok, "{finding:?}");
        }
    }

    #[test]
    fn verdicts() {
        each([
            (nats_version("2.15.1"), Ok),
            (nats_version("2.12.0"), Ok),
            (nats_version("2.11.9"), Fail),
            (nats_version(""), Warn),
            (skew(20), Ok),
            (skew(900), Warn),
            (skew(60_000), Fail),
            (lag(10, 12), Ok),
            (lag(5_000, 1), Warn),
            (lag(500_000, 1), Fail),
            (dead_letters(0), Ok),
            (dead_letters(1), Warn),
            (disk(50 << 30, 100 << 30), Ok),
            (disk(2 << 30, 100 << 30), Warn),
            (disk(2 << 30, 4 << 30), Ok),
            (disk(100 << 20, 4 << 30), Fail),
            (migrations(Some(4), 4), Ok),
            (migrations(Some(3), 4), Fail),
            (migrations(Some(5), 4), Warn),
            (migrations(None, 4), Fail),
        ]);
    }
}
