//! What this process uses, read from `/proc` when it is asked for.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// The unit of `/proc/self/stat`: `USER_HZ`, which is 100 on every Linux that programs see.
const TICKS_PER_SECOND: f64 = 100.0;
/// The unit of `/proc/self/statm` wherever Nexus is built for.
const PAGE_BYTES: i64 = 4096;

/// Adds the process's figures to the registry.
pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A system without /proc has no such figures.
        if let Some(pages) = resident_pages() {
            let gauge = ConstGauge::new(pages.saturating_mul(PAGE_BYTES));
            let help = "Memory that is resident";
            let unit = Unit::Bytes;
            let metric = encoder.encode_descriptor(
                "process_resident_memory",
                help,
                Some(&unit),
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        if let Some(ticks) = cpu_ticks() {
            let counter = ConstCounter::new(ticks as f64 / TICKS_PER_SECOND);
            let help = "Processor time, of programs it has waited for too";
            let unit = Unit::Seconds;
            let metric = encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&unit),
                counter.metric_type(),
            )?;
            counter.encode(metric)?;
        }
        if let Some(files) = open_files() {
            let gauge = ConstGauge::new(files);
            let help = "File descriptors that are open";
            let metric =
                encoder.encode_descriptor("process_open_fds", help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

fn resident_pages() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

/// The 14th to 17th field; the second is a name in brackets, which may hold anything.
fn cpu_ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(4);
    times.map(|time| time.parse::<u64>().ok()).sum()
}

fn open_files() -> Option<i64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    i64::try_from(entries.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        assert!(resident_pages().is_some_and(|pages| pages > 100));
        assert!(cpu_ticks().is_some());
        assert!(open_files().is_some_and(|files| files > 2));
    }
}
