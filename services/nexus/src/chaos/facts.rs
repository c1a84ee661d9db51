//! What is known in the end, collected once everything is healed and quiet; the verdict is a function of
//! it alone.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nexus_bus::{dlq, topology};
use nexus_events::{RunId, Tenant};
use nexus_modelserver::Sent;
use nexus_projections::verify;
use serde_json::Value;

use super::caller::{Ask, Who};
use super::error::ChaosError;
use super::load::{RunSpec, TENANTS};
use super::logbook::{Book, Logbook};
use super::people::{Answers, Asked};
use super::platform::Platform;
use super::progress::Progress;
use super::verdict::ledger;
use super::witness::Effect;

/// How long everything may take to come to rest once nothing breaks any more: delays, redeliveries
/// and leases end long before.
const QUIET_LIMIT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SAY_EVERY: Duration = Duration::from_secs(5);
const EVENTS_PAGE: usize = 200;

/// Everything that the checks look at.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// What was asked for.
    pub(crate) specs: Vec<RunSpec>,
    /// What became of asking.
    pub(crate) asked: BTreeMap<usize, Asked>,
    /// The log.
    pub(crate) book: Book,
    /// What reached the world.
    pub(crate) effects: Vec<Effect>,
    /// What the model server sent.
    pub(crate) sent: Vec<Sent>,
    /// Whether workers died or were cut off, so that answers may have been lost with them.
    pub(crate) disturbed: bool,
    /// Commands that nobody has handled.
    pub(crate) pending: u64,
    /// Dead letters, in words.
    pub(crate) dead_letters: Vec<String>,
    /// Ids of a run's events, as a gateway tells them.
    pub(crate) told: BTreeMap<RunId, Vec<String>>,
    /// What another tenant got who asked for a run.
    pub(crate) strangers: Vec<(RunId, u16)>,
    /// Tables that are not what a rebuild gives, and how many there are.
    pub(crate) tables: (Vec<String>, usize),
    /// Entries of the audit log, and where its chain is broken.
    pub(crate) audit: (u64, Vec<String>),
    /// Processes that ended by themselves.
    pub(crate) gave_up: Vec<String>,
}

impl Facts {
    /// Runs that were accepted, with what was asked for.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (RunId, &RunSpec)> {
        let is_accepted = |spec: &&RunSpec| self.asked.get(&spec.number) == Some(&Asked::Accepted);
        self.specs
            .iter()
            .filter(is_accepted)
            .map(|spec| (spec.run_id(), spec))
    }
}

/// Waits until nothing is left to do, or for as long as that may take.
pub(crate) async fn quiet(
    platform: &Platform,
    logbook: &Logbook,
    specs: &[RunSpec],
    answers: &Answers,
    progress: &Progress,
) {
    let began = Instant::now();
    let mut said = began;
    while began.elapsed() < QUIET_LIMIT {
        let left = left(platform, logbook, specs, answers).await;
        let Some(left) = left else { return };
        if said.elapsed() > SAY_EVERY {
            progress.say(&format!("waiting: {left}"));
            said = Instant::now();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    progress.say("it does not come to rest");
}

/// What there is left to do, in words.
async fn left(
    platform: &Platform,
    logbook: &Logbook,
    specs: &[RunSpec],
    answers: &Answers,
) -> Option<String> {
    let (unknown, accepted) = {
        let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |spec: &&RunSpec, asked: Asked| answers.get(&spec.number) == Some(&asked);
        let unknown = specs.iter().filter(|spec| is(spec, Asked::Unknown)).count();
        let accepted = specs.iter().filter(|spec| is(spec, Asked::Accepted));
        let accepted: Vec<RunId> = accepted.map(RunSpec::run_id).collect();
        (unknown, accepted)
    };
    let (open, held, last_seq) = {
        let book = logbook.book();
        let held: usize = ledger::held(&book).len();
        (book.open(accepted.iter()), held, book.last_seq)
    };
    let pending = pending(platform).await;
    let applied = platform.projections.applied_seq().await.unwrap_or(0);
    let behind = last_seq.saturating_sub(applied);
    let quiet = unknown == 0 && open == 0 && held == 0 && pending == Some(0) && behind == 0;
    (!quiet).then(|| {
        let pending = pending.map_or("unknown".to_owned(), |count| count.to_string());
        format!(
            "{unknown} unanswered, {open} runs open, {held} reservations, \
             {pending} commands, tables {behind} behind"
        )
    })
}

/// Commands that somebody still has to handle. A server whose disk was full may keep messages that were
/// acknowledged and could not be removed: nobody gets them again, so they are not counted here.
async fn pending(platform: &Platform) -> Option<u64> {
    let stream = platform
        .bus
        .jetstream()
        .get_stream(topology::COMMANDS)
        .await;
    let stream = stream.ok()?;
    let mut consumers = stream.consumers();
    let mut pending = 0;
    while let Some(consumer) = consumers.next().await {
        let consumer = consumer.ok()?;
        pending += consumer.num_pending;
        pending += u64::try_from(consumer.num_ack_pending).ok()?;
    }
    Some(pending)
}

/// Looks at everything.
///
/// # Errors
/// [`ChaosError::Facts`]: a server does not answer although nothing breaks it.
pub(crate) async fn collect(
    platform: &Arc<Platform>,
    logbook: &Logbook,
    specs: Vec<RunSpec>,
    answers: &Answers,
    disturbed: bool,
) -> Result<Facts, ChaosError> {
    let asked = answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut facts = Facts {
        specs,
        asked,
        disturbed,
        ..Facts::default()
    };
    let accepted: Vec<(RunId, &'static str)> = facts
        .accepted()
        .map(|(id, spec)| (id, spec.tenant))
        .collect();
    for (id, owner) in accepted {
        facts.told.insert(id, told(platform, id, owner).await);
        for other in TENANTS.into_iter().filter(|other| *other != owner) {
            let who = Who::user(other, "eve");
            let ask = Ask::get(who, format!("/v1/runs/{id}"));
            facts.strangers.push((id, ask.insist(platform).await.0));
        }
    }
    facts.effects = platform.witness.effects();
    facts.sent = platform.model.sent();
    facts.pending = pending(platform).await.unwrap_or(u64::MAX);
    facts.dead_letters = dead_letters(platform).await?;
    facts.tables = tables(platform).await?;
    facts.audit = audit(platform).await?;
    for role in &platform.roles {
        let times = role.gave_up().await;
        if times > 0 {
            facts.gave_up.push(format!("{} ({times})", role.instance));
        }
    }
    // Last, so that nothing that was looked at is later than the log.
    facts.book = std::mem::take(&mut *logbook.book());
    Ok(facts)
}

/// The ids of all events of a run, page by page.
async fn told(platform: &Platform, id: RunId, owner: &'static str) -> Vec<String> {
    let mut ids: Vec<String> = vec![];
    loop {
        let after = ids.last().map(|id| format!("&after={id}"));
        let after = after.unwrap_or_default();
        let path = format!("/v1/runs/{id}/events?limit={EVENTS_PAGE}{after}");
        let (_, page) = Ask::get(Who::operator(owner), path).insist(platform).await;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let more = items.len() == EVENTS_PAGE;
        let id_of = |item: &Value| item["id"].as_str().map(str::to_owned);
        ids.extend(items.iter().filter_map(id_of));
        if !more {
            return ids;
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> ChaosError {
    ChaosError::Facts(error.to_string())
}

async fn dead_letters(platform: &Platform) -> Result<Vec<String>, ChaosError> {
    let letters = dlq::list(&platform.bus, None, None, 100).await;
    let letters = letters.map_err(unreadable)?;
    let line =
        |letter: &dlq::DeadLetter| format!("{} {}: {}", letter.seq, letter.subject, letter.reason);
    Ok(letters.iter().map(line).collect())
}

async fn tables(platform: &Platform) -> Result<(Vec<String>, usize), ChaosError> {
    let js = platform.bus.jetstream().clone();
    let verified = verify(&platform.projections, js, topology::EVENTS, &mut |_| {}).await;
    let verified = verified.map_err(unreadable)?;
    let different = verified.tables.iter().filter(|table| !table.is_equal());
    let line = |table: &nexus_projections::TableReport| {
        let keys: Vec<&str> = table
            .differences
            .iter()
            .map(|row| row.key.as_str())
            .collect();
        format!("{}: {}", table.table, keys.join(", "))
    };
    Ok((different.map(line).collect(), verified.tables.len()))
}

async fn audit(platform: &Platform) -> Result<(u64, Vec<String>), ChaosError> {
    let (mut entries, mut broken) = (0, vec![]);
    for tenant in TENANTS {
        let tenant: Result<Tenant, _> = tenant.parse();
        let tenant = tenant.map_err(unreadable)?;
        let report = platform
            .projections
            .verify_audit(tenant.as_str(), &[], &mut |_| {})
            .await;
        let report = report.map_err(unreadable)?;
        entries += report.entries;
        let line =
            |at: nexus_projections::ChainBreak| format!("{tenant} {}: {}", at.seq, at.detail);
        broken.extend(report.broken.map(line));
    }
    Ok((entries, broken))
}
