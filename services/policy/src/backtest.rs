//! `policy.backtest`: decisions that history holds, made again by another bundle.
//!
//! The log is read once, in order, and every run in it folded as it goes, so that each decision is
//! asked with the run as it was. Runs that began before the stretch, or that had to make room, are
//! read back by themselves. An answer covers what could be done in some seconds and says where to go
//! on: nobody holds a request open for a whole history, and a process that dies loses one stretch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, Delivery, Failure, ReadError, Stored, read, topology};
use nexus_events::catalog::Catalog;
use nexus_events::command::BacktestPolicy;
use nexus_events::policy::{BacktestReport, Change, Difference};
use nexus_events::run::{PolicyDecided, PolicyPoint, Run, RunEvent};
use nexus_events::{AggregateKind, Commit, DomainError, RunId, Tenant, Timestamp, subject};

use crate::PolicyRole;
use crate::active::BundleInForce;
use crate::replay::{self, Folded};
use crate::work;

/// Time for one answer: less than a gateway waits for it.
const STRETCH: Duration = Duration::from_millis(1500);
/// Runs that are kept folded.
const MOST_RUNS: usize = 4096;
/// Length of their commits, in bytes.
const MOST_BYTES: usize = 64 << 20;

impl PolicyRole {
    pub(crate) async fn backtest(
        &self,
        delivery: &Delivery,
        command: BacktestPolicy,
    ) -> Result<(), Failure> {
        let _place = match self.places.backtest() {
            Ok(place) => place,
            Err(busy) => return self.say(delivery, &busy).await,
        };
        let tenant = delivery.envelope.tenant.clone();
        if command.digest.is_none() && command.modules.is_empty() {
            let reason = "a bundle to try: its digest, or its files as modules";
            return Err(DomainError::invalid("digest", reason).into());
        }
        let BacktestPolicy {
            digest,
            modules,
            data,
            since,
            until,
            from_seq,
        } = command;
        let bundle = self.named(&tenant, digest, modules, data).await?;
        let backtest = Backtest {
            bus: self.bus.clone(),
            catalog: Arc::clone(&self.catalog),
            tenant,
            bundle,
            until,
            runs: Runs::default(),
        };
        let handle = tokio::runtime::Handle::current();
        // Evaluation pauses nowhere: on a thread of its own it keeps no decision waiting.
        let stretch = move || handle.block_on(backtest.stretch(since, from_seq));
        let report = work::off_the_loop(stretch).await??;
        self.say(delivery, &report).await
    }
}

struct Backtest {
    bus: Bus,
    catalog: Arc<Catalog>,
    tenant: Tenant,
    bundle: BundleInForce,
    until: Option<Timestamp>,
    runs: Runs,
}

impl Backtest {
    async fn stretch(
        mut self,
        since: Option<Timestamp>,
        from_seq: Option<u64>,
    ) -> Result<BacktestReport, ReadError> {
        let began = Instant::now();
        let log = subject::events_of_runs(&self.tenant);
        let last = read::last(&self.bus, topology::EVENTS, &log).await?;
        let last_seq = last.map_or(0, |last| last.seq);
        let mut from = match (from_seq, since) {
            (Some(seq), _) => seq.max(1),
            (None, Some(since)) => first_since(&self.bus, &log, since, last_seq).await?,
            (None, None) => 1,
        };
        let mut report = BacktestReport {
            bundle: self.bundle.digest().to_owned(),
            from_seq: from,
            last_seq,
            ..BacktestReport::default()
        };
        'log: while from <= last_seq {
            let page = read::read_from(&self.bus, topology::EVENTS, &log, from, read::PAGE).await?;
            for stored in &page.messages {
                let over = self.until.is_some_and(|until| stored.time >= until);
                if over || stored.seq > last_seq {
                    from = last_seq + 1;
                    break 'log;
                }
                self.commit(stored, &mut report).await?;
                from = stored.seq + 1;
                if began.elapsed() >= STRETCH {
                    break 'log;
                }
            }
            if page.messages.is_empty() {
                from = last_seq + 1;
            }
        }
        report.to_seq = from - 1;
        report.next_seq = (from <= last_seq).then_some(from);
        report.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    async fn commit(
        &mut self,
        stored: &Stored,
        report: &mut BacktestReport,
    ) -> Result<(), ReadError> {
        let Some((_, AggregateKind::Run, id)) = subject::parse_events(&stored.subject) else {
            return Ok(());
        };
        let (Ok(run_id), Ok(commit)) = (
            id.as_str().parse::<RunId>(),
            Commit::<RunEvent>::decode(&stored.body),
        ) else {
            report.skipped += 1;
            return Ok(());
        };
        let decides = replay::decisions(&commit).next().is_some();
        let mut folded = match self.runs.take(&run_id) {
            Some(folded) if folded.is_followed_by(stored) => folded,
            // It is loaded when it is needed, not for commits of runs that decide nothing any more.
            _ if stored.follows() != Some(0) && !decides => return Ok(()),
            _ => self.load(stored).await?,
        };
        for decided in replay::decisions(&commit) {
            self.decision(&folded.run, stored, &commit, decided, report);
        }
        folded.take(&commit, stored);
        if !folded.run.status.is_terminal() {
            self.runs.keep(run_id, folded);
        }
        Ok(())
    }

    fn decision(
        &self,
        run: &Run,
        stored: &Stored,
        commit: &Commit<RunEvent>,
        decided: &PolicyDecided,
        report: &mut BacktestReport,
    ) {
        let question = replay::question(run, &self.tenant, &self.catalog, commit, decided);
        let (Some(question), Some(info)) = (question, run.info()) else {
            report.skipped += 1;
            return;
        };
        report.decisions += 1;
        let would = replay::judge_again(&self.bundle, run, &self.catalog, decided, question);
        let Some(difference) = Difference::between(decided, &would) else {
            return;
        };
        report.add(Change {
            run_id: info.run_id,
            seq: stored.seq,
            at: commit.time,
            tool: tool_of(run, &decided.point),
            point: decided.point.clone(),
            user: info.user.user.clone(),
            difference,
            recorded: decided.into(),
            would: (&would).into(),
        });
    }

    /// The run as it was before this commit.
    async fn load(&self, before: &Stored) -> Result<Folded, ReadError> {
        let mut folded = Folded::default();
        let mut from = 1;
        while !folded.is_followed_by(before) {
            let page = read::read_from(
                &self.bus,
                topology::EVENTS,
                &before.subject,
                from,
                read::PAGE,
            )
            .await?;
            for stored in page
                .messages
                .iter()
                .take_while(|stored| stored.seq < before.seq)
            {
                // What cannot be read leaves a run that has no question to ask.
                if let Ok(commit) = Commit::<RunEvent>::decode(&stored.body) {
                    folded.take(&commit, stored);
                }
            }
            match page.messages.last() {
                Some(last) if last.seq < before.seq => from = last.seq + 1,
                _ => break,
            }
        }
        Ok(folded)
    }
}

/// Folded runs, as many as there is room for.
#[derive(Default)]
struct Runs {
    folded: HashMap<RunId, Folded>,
    bytes: usize,
}

impl Runs {
    fn take(&mut self, run_id: &RunId) -> Option<Folded> {
        let folded = self.folded.remove(run_id)?;
        self.bytes = self.bytes.saturating_sub(folded.bytes);
        Some(folded)
    }

    fn keep(&mut self, run_id: RunId, folded: Folded) {
        self.bytes += folded.bytes;
        self.folded.insert(run_id, folded);
        if self.folded.len() > MOST_RUNS || self.bytes > MOST_BYTES {
            self.make_room();
        }
    }

    /// Drops the half that was longest without a commit.
    fn make_room(&mut self) {
        let mut last: Vec<u64> = self.folded.values().map(|folded| folded.seq).collect();
        last.sort_unstable();
        let middle = last.get(last.len() / 2).copied().unwrap_or(0);
        self.folded.retain(|_, folded| folded.seq > middle);
        self.bytes = self.folded.values().map(|folded| folded.bytes).sum();
    }
}

/// The first sequence whose message is not before a moment, found by halving.
async fn first_since(
    bus: &Bus,
    log: &str,
    since: Timestamp,
    last_seq: u64,
) -> Result<u64, ReadError> {
    let (mut low, mut high) = (1, last_seq + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match read::next(bus, topology::EVENTS, log, middle).await? {
            Some(stored) if stored.time < since => low = stored.seq + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn tool_of(run: &Run, point: &PolicyPoint) -> Option<String> {
    match point {
        PolicyPoint::ToolCall { turn, call_id } => {
            Some(run.tool_step(*turn, call_id)?.call.name.clone())
        }
        PolicyPoint::RunStart | PolicyPoint::LlmCall { .. } => None,
    }
}
