//! What is there at a moment: memory, threads and files of every process, and what the bus and the
//! database keep. Memory is what a process has to itself (`Pss_Anon`): pages of files and of
//! Postgres' shared buffers fill up to a bound that is known, and would hide what has none.

use std::collections::BTreeMap;
use std::fs;

use nexus_bus::topology::{self, TopologyConfig};
use serde::Serialize;

use super::super::error::BenchError;
use super::super::platform::Platform;
use super::super::proc;

/// A program's processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Program {
    /// Memory of their own, in bytes.
    pub(crate) memory_bytes: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Open files and sockets.
    pub(crate) open_files: u64,
    /// Processes.
    pub(crate) processes: u64,
}

/// A stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stream {
    /// Messages that it holds.
    pub(crate) messages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Its consumers.
    pub(crate) consumers: u64,
}

/// A table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Table {
    /// Bytes of its rows.
    pub(crate) bytes: u64,
    /// Bytes of its indexes.
    pub(crate) index_bytes: u64,
}

/// Everything at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Since the load began, in milliseconds.
    pub(crate) at_ms: u64,
    /// Runs that had ended.
    pub(crate) runs: u64,
    /// By program.
    pub(crate) programs: BTreeMap<String, Program>,
    /// By name.
    pub(crate) streams: BTreeMap<String, Stream>,
    /// By name; partitions count as their table.
    pub(crate) tables: BTreeMap<String, Table>,
}

impl Sample {
    /// Commands that wait.
    pub(crate) fn waiting(&self) -> u64 {
        let commands = self.streams.get(topology::COMMANDS);
        commands.map_or(0, |stream| stream.messages)
    }
}

/// Takes one.
///
/// # Errors
/// [`BenchError`]: a server does not answer.
pub(crate) async fn take(platform: &Platform, at_ms: u64, runs: u64) -> Result<Sample, BenchError> {
    Ok(Sample {
        at_ms,
        runs,
        programs: programs(platform.pid),
        streams: streams(platform).await?,
        tables: tables(platform).await?,
    })
}

fn programs(root: Option<u32>) -> BTreeMap<String, Program> {
    let mut all: BTreeMap<String, Program> = BTreeMap::new();
    for (pid, name) in proc::processes_of_tree(root) {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let program = all.entry(name).or_default();
        program.memory_bytes += field(&read("smaps_rollup"), "Pss_Anon:") * 1024;
        program.threads += field(&read("status"), "Threads:");
        program.open_files +=
            fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |dir| dir.count() as u64);
        program.processes += 1;
    }
    all
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

async fn streams(platform: &Platform) -> Result<BTreeMap<String, Stream>, BenchError> {
    let mut all = BTreeMap::new();
    for spec in topology::streams(&TopologyConfig::default()) {
        let found = platform.bus.jetstream().get_stream(spec.name).await;
        let found =
            found.map_err(|error| BenchError::Bus(format!("stream {}: {error}", spec.name)))?;
        let state = &found.cached_info().state;
        let stream = Stream {
            messages: state.messages,
            bytes: state.bytes,
            consumers: state.consumer_count as u64,
        };
        all.insert(spec.name.to_owned(), stream);
    }
    Ok(all)
}

async fn tables(platform: &Platform) -> Result<BTreeMap<String, Table>, BenchError> {
    let query = "SELECT coalesce(p.relname, c.relname)::text,
             sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
         LEFT JOIN pg_class p ON p.oid = i.inhparent
         WHERE n.nspname = $1 AND c.relkind = 'r'
         GROUP BY 1 ORDER BY 1";
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(query)
        .bind(platform.projections.schema())
        .fetch_all(platform.projections.pool())
        .await
        .map_err(|error| BenchError::Database(error.to_string()))?;
    let table = |(name, bytes, index): (String, i64, i64)| {
        let (bytes, index_bytes) = (bytes.unsigned_abs(), index.unsigned_abs());
        (name, Table { bytes, index_bytes })
    };
    Ok(rows.into_iter().map(table).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_proc_is_read() {
        assert_eq!(
            field("Rss: 12 kB\nPss_Anon:      940 kB\n", "Pss_Anon:"),
            940
        );
        assert_eq!(field("", "Threads:"), 0);
        let own = programs(Some(std::process::id()));
        assert!(own.values().all(|own| own.threads > 0 && own.processes > 0) && !own.is_empty());
    }
}
