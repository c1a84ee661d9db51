//! A long past, made of a short one: what real runs recorded is taken from the log and published again
//! as often as is wanted, each time as other runs of another tenant. So commits have the shape and the
//! order that roles give them, whatever those become, and a million events take seconds, not minutes.
//! A generator of its own would be a second description of what a run records.

use std::time::{Duration, Instant};

use async_nats::jetstream::context::PublishAckFuture;
use nexus_bus::topology::EVENTS;
use nexus_bus::{Bus, read};
use nexus_events::{Tenant, subject};
use serde_json::Value;
use tokio::sync::watch;

use super::error::BenchError;
use super::load::{Load, Via};
use super::observe::Observer;
use super::platform::Platform;
use super::stored;

/// Runs of the short past, and how many of them are in flight.
const RUNS: usize = 200;
const IN_FLIGHT: usize = 16;
const FROM: &str = "bench-past";
const TO: &str = "bench-copy";
/// Commits of which the acknowledgements are awaited together.
const WINDOW: usize = 500;
const PAGE: usize = 500;

/// Commits that were recorded, in order.
#[derive(Debug)]
pub(super) struct Past {
    commits: Vec<Commit>,
    copies: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Commit {
    subject: String,
    body: String,
    events: u64,
}

/// What was published.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) commits: u64,
    pub(super) events: u64,
    /// The last one's sequence.
    pub(super) last_seq: u64,
    /// Of each commit: its sequence, and when the bus had it.
    pub(super) heard: Vec<(u64, Instant)>,
}

impl Past {
    /// Lets some runs happen and takes what they recorded.
    ///
    /// # Errors
    /// [`BenchError`]: they did not end.
    pub(super) async fn record(platform: &Platform) -> Result<Self, BenchError> {
        let tenant: Tenant = FROM.parse().map_err(|_| bus("no tenant"))?;
        let tenants = [tenant.clone()];
        let (observer, _listening) = Observer::listen(&platform.bus, &tenants, false).await?;
        let bus = platform.bus.clone();
        let load = Load::new(bus, observer, tenants.to_vec(), Via::Bus, &platform.url)?;
        let (_tell, stop) = watch::channel(false);
        load.some(IN_FLIGHT, RUNS, &stop).await?;
        stored::drained(platform).await?;
        let mut commits = vec![];
        let subject = subject::events_of_tenant(&tenant);
        let mut from = 1;
        loop {
            let page = read::read_from(&platform.bus, EVENTS, &subject, from, PAGE).await;
            let page = page.map_err(|error| BenchError::Bus(error.to_string()))?;
            let Some(last) = page.messages.last() else {
                break;
            };
            from = last.seq + 1;
            for message in &page.messages {
                commits.push(Commit::of(&message.subject, &message.body)?);
            }
        }
        Ok(Self { commits, copies: 0 })
    }

    /// Publishes at least so many events, as fast as the bus takes them.
    ///
    /// # Errors
    /// [`BenchError::Bus`].
    pub(super) async fn publish(
        &mut self,
        bus: &Bus,
        events: u64,
    ) -> Result<Published, BenchError> {
        let mut done = Published::default();
        while done.events < events {
            self.copies += 1;
            for some in self.commits.chunks(WINDOW) {
                send(bus, some, self.copies, &mut done).await?;
            }
        }
        Ok(done)
    }

    /// Publishes at a rate of events for a time.
    ///
    /// # Errors
    /// [`BenchError::Bus`].
    pub(super) async fn publish_at(
        &mut self,
        bus: &Bus,
        per_second: f64,
        time: Duration,
    ) -> Result<Published, BenchError> {
        let mut done = Published::default();
        let began = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        'all: loop {
            self.copies += 1;
            let mut rest = self.commits.as_slice();
            while !rest.is_empty() {
                ticks.tick().await;
                if began.elapsed() >= time {
                    break 'all;
                }
                let due = began.elapsed().as_secs_f64() * per_second;
                let mut n = 0;
                let mut events = done.events as f64;
                while let Some(commit) = rest.get(n).filter(|_| events < due && n < WINDOW) {
                    events += commit.events as f64;
                    n += 1;
                }
                let (some, later) = rest.split_at(n);
                send(bus, some, self.copies, &mut done).await?;
                rest = later;
            }
        }
        Ok(done)
    }
}

async fn send(
    bus: &Bus,
    commits: &[Commit],
    copy: u64,
    done: &mut Published,
) -> Result<(), BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Bus(error.to_string());
    let mut sent: Vec<PublishAckFuture> = Vec::with_capacity(commits.len());
    for commit in commits {
        let (subject, body) = commit.copy(copy);
        let ack = bus.jetstream().publish(subject, body.into()).await;
        sent.push(ack.map_err(|error| failed(&error))?);
        done.events += commit.events;
    }
    for ack in sent {
        let ack = ack.await.map_err(|error| failed(&error))?;
        done.last_seq = ack.sequence;
        done.heard.push((ack.sequence, Instant::now()));
    }
    done.commits += commits.len() as u64;
    Ok(())
}

impl Commit {
    fn of(subject: &str, body: &[u8]) -> Result<Self, BenchError> {
        let unreadable = |error: &dyn std::fmt::Display| {
            BenchError::Bus(format!("a commit on {subject} cannot be read: {error}"))
        };
        let batch: Vec<Value> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        let body = std::str::from_utf8(body).map_err(|error| unreadable(&error))?;
        Ok(Self {
            subject: subject.replacen(FROM, TO, 1),
            body: body.to_owned(),
            events: batch.len() as u64,
        })
    }

    /// The same of other runs.
    fn copy(&self, copy: u64) -> (String, String) {
        (renamed(&self.subject, copy), renamed(&self.body, copy))
    }
}

/// The text with every UUID in it made another one, the same one everywhere: the copy's number is
/// laid over its last twelve digits.
fn renamed(text: &str, copy: u64) -> String {
    let bytes = text.as_bytes();
    let mut out = text.to_owned().into_bytes();
    let mut at = 0;
    while let Some(candidate) = bytes.get(at..at + 36) {
        if !is_uuid(candidate) {
            at += 1;
            continue;
        }
        let digits = std::str::from_utf8(candidate.get(24..).unwrap_or_default());
        let digits = digits
            .ok()
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let other = format!(
            "{:012x}",
            digits.unwrap_or_default() ^ (copy & 0xffff_ffff_ffff)
        );
        if let Some(place) = out.get_mut(at + 24..at + 36) {
            place.copy_from_slice(other.as_bytes());
        }
        at += 36;
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn is_uuid(bytes: &[u8]) -> bool {
    let fits = |(index, byte): (usize, &u8)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    bytes.iter().enumerate().all(fits)
}

fn bus(reason: &str) -> BenchError {
    BenchError::Bus(reason.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    const RUN: &str = "0198c0de-0000-7000-8000-00000000000f";

    #[test]
    fn a_copy_is_of_other_runs_and_its_parts_still_belong_together() {
        let subject = format!("nexus.{FROM}.evt.run.{RUN}");
        let body =
            format!(r#"[{{"subject":"{RUN}","digest":"0123456789abcdef"}},{{"at":"{RUN}"}}]"#);
        let commit = Commit::of(&subject, body.as_bytes()).unwrap();
        assert_eq!(commit.events, 2);
        let (one, text) = commit.copy(1);
        let other = "0198c0de-0000-7000-8000-00000000000e";
        assert_eq!(one, format!("nexus.{TO}.evt.run.{other}"));
        assert_eq!(text.matches(other).count(), 2);
        assert!(text.contains("0123456789abcdef") && !text.contains(RUN));
        assert_ne!(commit.copy(2), commit.copy(3));
        assert!(Commit::of(&subject, b"nonsense").is_err());
    }

    #[test]
    fn what_is_no_uuid_stays() {
        for text in [
            "",
            "0198c0de",
            "0198c0de-0000-7000-8000-00000000000",
            "é".repeat(40).as_str(),
        ] {
            assert_eq!(renamed(text, 5), text);
        }
    }
}
