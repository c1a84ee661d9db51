//! What `nexus bench llm` found, and the figures that it makes of it.

use std::collections::BTreeMap;

use super::{Figure, Part, Unit};
use crate::bench::stats::Quantiles;

/// What `nexus bench llm` found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LlmReport {
    /// What a run adds to a call.
    pub(crate) added: Added,
    /// Streams held at once, a phase each.
    pub(crate) held: Vec<Held>,
    /// Fragments through the bus.
    pub(crate) fragments: Fragments,
    /// The content filter.
    pub(crate) filter: FilterRates,
}

/// Calls one at a time; what a direct call takes is taken off.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Added {
    /// A call without the platform.
    pub(crate) direct_call: Option<Quantiles>,
    /// Until its first piece.
    pub(crate) direct_first_piece: Option<Quantiles>,
    /// From the run's first commit to the one with the answer: policy, reservation and call.
    pub(crate) call: Option<Quantiles>,
    /// From the run's first commit to the first piece of the answer.
    pub(crate) first_piece: Option<Quantiles>,
    /// As `call`, where the model has two endpoints.
    pub(crate) routed_call: Option<Quantiles>,
    /// CPU time of a whole run of one call, one in flight, in microseconds by program.
    pub(crate) cpu_us_per_run: BTreeMap<String, f64>,
}

/// Streams held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Runs that were started.
    pub(crate) asked: usize,
    /// Streams that were open together.
    pub(crate) open: usize,
    /// Memory of all roles then, in bytes.
    pub(crate) memory_bytes: u64,
    /// What was more than before the first phase, a stream.
    pub(crate) bytes_per_stream: u64,
    /// What a stream holds in a client that does nothing else; of the largest phase.
    pub(crate) plain_client_bytes_per_stream: Option<u64>,
}

/// Fragments of answers, to a listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fragments {
    /// A phase each.
    pub(crate) paces: Vec<Pace>,
    /// Messages of a fragment's size that one client publishes and hears.
    pub(crate) bare_bus_per_second: f64,
    /// What the model server sends to a plain client, in one stream.
    pub(crate) direct_per_second: f64,
}

/// Of some streams at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pace {
    /// Streams.
    pub(crate) streams: usize,
    /// Fragments that were heard.
    pub(crate) heard: u64,
    /// Fragments that were not.
    pub(crate) lost: u64,
    /// Heard in a second.
    pub(crate) per_second: f64,
    /// CPU time of a fragment in microseconds by program.
    pub(crate) cpu_us_each: BTreeMap<String, f64>,
}

/// One thread of the content filter over plain text, in megabytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FilterRates {
    /// Secrets are looked for, as without a configuration.
    pub(crate) secrets_mb_per_second: f64,
    /// Everything is looked for.
    pub(crate) all_mb_per_second: f64,
    /// The same in fragments of 16 bytes.
    pub(crate) fragments_mb_per_second: f64,
    /// Its lines are counted: what reading it takes.
    pub(crate) lines_counted_mb_per_second: f64,
}

impl LlmReport {
    /// As figures.
    pub(crate) fn part(&self) -> Part {
        let about =
            "Model calls one at a time, streams held at once, fragments, the content filter.";
        let mut part = Part::new("llm", about);
        self.added.add_to(&mut part);
        for held in &self.held {
            held.add_to(&mut part);
        }
        self.fragments.add_to(&mut part);
        self.filter.add_to(&mut part);
        part
    }
}

impl Added {
    fn add_to(&self, part: &mut Part) {
        let (none, added) = ([None, None], [Some(3.0), Some(10.0)]);
        part.times("call without the platform", self.direct_call, none);
        part.times("its first piece", self.direct_first_piece, none);
        part.times("added by a run", self.call, added);
        part.times("added to the first piece", self.first_piece, added);
        part.times("added with two endpoints", self.routed_call, added);
        part.cpu("of a run, one in flight", &self.cpu_us_per_run);
    }
}

impl Held {
    fn add_to(&self, part: &mut Part) {
        let name = format!(
            "memory of all roles, {} of {} streams open",
            self.open, self.asked
        );
        part.plain(name, self.memory_bytes as f64, Unit::Bytes);
        let name = format!("memory a stream, {} asked for", self.asked);
        let figure = Figure::new(name, self.bytes_per_stream as f64, Unit::Bytes);
        part.add(match self.plain_client_bytes_per_stream {
            Some(plain) => figure.beside("in a plain client", plain as f64),
            None => figure,
        });
    }
}

impl Fragments {
    fn add_to(&self, part: &mut Part) {
        for pace in &self.paces {
            let streams = format!("{} stream(s)", pace.streams);
            part.add(
                Figure::new(
                    format!("fragments a second to a listener, {streams}"),
                    pace.per_second,
                    Unit::PerSecond,
                )
                .beside("on the bare bus", self.bare_bus_per_second),
            );
            let cpu: f64 = pace.cpu_us_each.values().sum();
            part.plain(format!("CPU a fragment, {streams}"), cpu, Unit::Us);
            let lost = format!("lost of {} fragments, {streams}", pace.heard + pace.lost);
            part.add(Figure::new(lost, pace.lost as f64, Unit::Count).at_most(0.0));
        }
        let direct = self.direct_per_second;
        part.plain(
            "fragments a second to a plain client",
            direct,
            Unit::PerSecond,
        );
    }
}

impl FilterRates {
    fn add_to(&self, part: &mut Part) {
        for (name, rate) in [
            ("filter: secrets, as by default", self.secrets_mb_per_second),
            ("filter: everything", self.all_mb_per_second),
            (
                "filter: everything, in fragments of 16 bytes",
                self.fragments_mb_per_second,
            ),
        ] {
            part.add(
                Figure::new(name, rate, Unit::MbPerSecond)
                    .at_least(100.0)
                    .beside("counting lines", self.lines_counted_mb_per_second),
            );
        }
    }
}
