//! What a provider says in its headers of how much it will still take: OpenAI's `x-ratelimit-…` and
//! Anthropic's `anthropic-ratelimit-…`. Only "nothing more until then" is of use to whoever routes:
//! the figures before that are of an account that others use too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use nexus_events::Timestamp;

/// Longest pause that is believed.
const MOST: Duration = Duration::from_secs(24 * 3600);
/// The pause where a provider says that nothing is left, and not until when.
const UNSAID: Duration = Duration::from_secs(1);
/// What is counted, as both name it.
const COUNTED: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// How long the provider takes nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Until it takes more.
    pub closed: Duration,
    /// Of what nothing is left.
    pub of: &'static str,
}

/// Where a call leaves what it heard.
#[derive(Clone, Debug, Default)]
pub struct QuotaSlot(Arc<Mutex<Option<Quota>>>);

impl QuotaSlot {
    /// Takes what the headers of an answer say.
    pub fn tell(&self, headers: &HeaderMap) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = Timestamp::from_millis(
            since_epoch.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0)),
        );
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = read(headers, now);
    }

    /// What was heard.
    pub fn take(&self) -> Option<Quota> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn read(headers: &HeaderMap, now: Timestamp) -> Option<Quota> {
    let text = |name: String| headers.get(name)?.to_str().ok().map(str::trim);
    let used_up = COUNTED.into_iter().filter_map(|of| {
        let openai = text(format!("x-ratelimit-remaining-{of}"));
        let anthropic = text(format!("anthropic-ratelimit-{of}-remaining"));
        let reset = match (openai, anthropic) {
            (Some("0"), _) => text(format!("x-ratelimit-reset-{of}")).and_then(pause),
            (_, Some("0")) => {
                let at = text(format!("anthropic-ratelimit-{of}-reset"));
                at.and_then(Timestamp::parse_rfc3339)
                    .map(|at| Duration::from_millis(at.millis_since(now)))
            }
            _ => return None,
        };
        let closed = reset.unwrap_or(UNSAID).min(MOST);
        Some(Quota { closed, of })
    });
    used_up.max_by_key(|quota| quota.closed)
}

/// A pause as OpenAI writes it: `20ms`, `1.5s`, `6m0s`; plain seconds too.
fn pause(text: &str) -> Option<Duration> {
    let mut whole = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" | "" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let part = number.parse::<f64>().ok()? * seconds;
        whole = whole.saturating_add(Duration::try_from_secs_f64(part).ok()?);
        rest = next;
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn heard(headers: &[(&'static str, &str)]) -> Option<Quota> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        read(
            &map,
            Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap(),
        )
    }

    #[test]
    fn nothing_left_closes_until_the_reset() {
        let quota = heard(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0.5s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "20ms"),
        ]);
        let closed = Duration::from_millis(360_500);
        let of = "requests";
        assert_eq!(quota, Some(Quota { closed, of }));
        let quota = heard(&[
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2026-01-01T00:00:07Z",
            ),
        ]);
        assert_eq!(quota.unwrap().closed, Duration::from_secs(7));
    }

    #[test]
    fn what_is_left_or_not_said_closes_nothing_and_nonsense_a_second() {
        assert_eq!(heard(&[]), None);
        assert_eq!(heard(&[("x-ratelimit-remaining-tokens", "12")]), None);
        let quota = heard(&[
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "soon"),
        ]);
        assert_eq!(quota.unwrap().closed, UNSAID);
        let quota = heard(&[
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "99999999h"),
        ]);
        assert_eq!(quota.unwrap().closed, MOST);
    }
}
