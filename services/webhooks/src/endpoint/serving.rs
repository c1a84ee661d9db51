//! The task of one webhook. One loop owns how far it has come; deliveries are futures beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::read::{self, Stored};
use nexus_bus::webhooks::{self, ProgressError};
use nexus_bus::{Cause, ReadHint, topology};
use nexus_events::webhook::progress::{Attempt, Progress, Verdict};
use nexus_events::webhook::{self, DeliveryGivenUp, DisabledBy, Webhook, WebhookEvent, Webhooks};
use nexus_events::{AggregateId, CommandId, Tenant, subject};
use rand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::lanes::Lanes;
use super::{Assignment, Ended, Means, secrets_of};
use crate::message::{self, Message};
use crate::metrics::metrics;
use crate::post::Fault;
use crate::runs::Runs;

/// Commits that are read at once.
const AHEAD: usize = 32;
/// Written down at least so often while it moves, and at once when it rests.
const SAVES_EVERY: Duration = Duration::from_millis(200);
/// The log is looked at although nothing was heard.
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// What is under way when it has to stop may take so long to end.
const GRACE: Duration = Duration::from_secs(3);

/// A try that ended.
struct Tried {
    lane: String,
    message: Arc<Message>,
    outcome: Result<u16, Fault>,
    took: Duration,
}

/// See the module.
pub(super) struct Serving {
    means: Arc<Means>,
    tenant: Tenant,
    hook: Arc<Webhook>,
    hints: watch::Receiver<u64>,
    progress: Progress,
    version: u64,
    dirty: bool,
    saved_at: Instant,
    lanes: Lanes,
    busy: BTreeSet<String>,
    work: JoinSet<Tried>,
    runs: Runs,
    /// There may be more on the log than was read.
    more: bool,
}

impl Serving {
    /// Goes on where the webhook stands.
    pub(super) async fn begin(means: Arc<Means>, given: &Assignment) -> Result<Self, Ended> {
        let (tenant, hook) = (given.tenant.clone(), Arc::clone(&given.hook));
        let found = webhooks::load(&means.bus, &tenant, hook.id).await?;
        let (mut progress, version) = match found {
            Some(found) => found,
            None => (Progress::begin(&hook), 0),
        };
        let before = progress.seen;
        progress.follow(&hook);
        Ok(Self {
            dirty: version == 0 || progress.seen != before,
            means,
            tenant,
            hook,
            hints: given.hints.clone(),
            progress,
            version,
            saved_at: Instant::now(),
            lanes: Lanes::default(),
            busy: BTreeSet::new(),
            work: JoinSet::new(),
            runs: Runs::default(),
            more: true,
        })
    }

    pub(super) async fn run(mut self, stop: &CancellationToken) -> Ended {
        let ended = loop {
            let stepped = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Ended::Stopped),
                stepped = self.step() => stepped,
            };
            if let Err(ended) = stepped {
                break ended;
            }
        };
        // Whoever comes next would deliver again what is not written down.
        if matches!(ended, Ended::Stopped) {
            let finished = timeout(GRACE, self.finish()).await;
            if let Ok(Err(error)) = finished {
                return error;
            }
        }
        ended
    }

    /// Lets what is under way end, and writes down how far it came.
    async fn finish(&mut self) -> Result<(), Ended> {
        while let Some(tried) = self.work.join_next().await {
            if let Ok(tried) = tried {
                self.settle(tried).await?;
            }
        }
        self.save().await
    }

    /// Safe to drop wherever it waits: what it takes off a queue or the log it has noted before.
    async fn step(&mut self) -> Result<(), Ended> {
        self.dispatch().await?;
        if self.more && !self.progress.is_full() && self.lanes.has_room() {
            self.read_ahead().await?;
            if self.more {
                self.take_what_ended().await?;
                return self.save_in_time().await;
            }
            self.dispatch().await?;
        }
        self.save_in_time().await?;
        let wakes = self.wakes();
        tokio::select! {
            Some(tried) = self.work.join_next() => {
                if let Ok(tried) = tried {
                    self.settle(tried).await?;
                }
            }
            Ok(()) = self.hints.changed() => self.more = true,
            () = sleep_until(wakes) => self.more = true,
        }
        Ok(())
    }

    async fn take_what_ended(&mut self) -> Result<(), Ended> {
        while let Some(tried) = self.work.try_join_next() {
            if let Ok(tried) = tried {
                self.settle(tried).await?;
            }
        }
        Ok(())
    }

    fn wakes(&self) -> Instant {
        let now = Instant::now();
        let mut wakes = now + LOOKS_EVERY;
        if self.dirty {
            wakes = wakes.min(self.saved_at + SAVES_EVERY);
        }
        let one_at_a_time = self.progress.is_failing() && !self.busy.is_empty();
        if self.busy.len() < self.means.settings.parallel && !one_at_a_time {
            let at = self.progress.wakes_at(&self.busy);
            let wait_ms = at.map(|at| at.millis_since(self.means.bus.now()));
            if let Some(wait_ms) = wait_ms {
                // A clock that is behind by a millisecond is no reason to hurry.
                wakes = wakes.min(now + Duration::from_millis(wait_ms.max(2)));
            }
        }
        wakes
    }

    /// Sends what may be sent.
    async fn dispatch(&mut self) -> Result<(), Ended> {
        while self.busy.len() < self.means.settings.parallel {
            let now = self.means.bus.now();
            let Some(lane) = self.progress.next(&self.busy, now) else {
                return Ok(());
            };
            if self.lanes.first(&lane).is_none() {
                self.fill(&lane).await?;
            }
            let Some(message) = self.lanes.first(&lane) else {
                continue;
            };
            self.busy.insert(lane.clone());
            self.send(lane, message);
        }
        Ok(())
    }

    fn send(&mut self, lane: String, message: Arc<Message>) {
        let means = Arc::clone(&self.means);
        let (tenant, hook) = (self.tenant.clone(), Arc::clone(&self.hook));
        self.work.spawn(async move {
            let now = means.bus.now();
            let secrets = secrets_of(&means.key, &tenant, &hook, now);
            let started = Instant::now();
            let now_s = now.as_millis() / 1_000;
            let outcome = (means.post.send(&hook.spec.url, &message, &secrets, now_s)).await;
            Tried {
                lane,
                message,
                outcome,
                took: started.elapsed(),
            }
        });
    }

    /// Reads what a lane waits with; one that waits with nothing goes on.
    async fn fill(&mut self, lane: &str) -> Result<(), Ended> {
        let Some(waiting) = self.progress.lanes.get(lane).cloned() else {
            return Ok(());
        };
        self.lanes.forget(lane);
        let tenant = &self.tenant;
        let subject = format!("nexus.{tenant}.evt.{}", lane.replacen('/', ".", 1));
        let (bus, stream) = (&self.means.bus, topology::EVENTS);
        let page = read::read_from(bus, stream, &subject, waiting.seq, AHEAD).await?;
        let mut commits = page.messages;
        let mut until = commits.last().map(|last| last.seq);
        if until.is_none_or(|until| until < waiting.upto) && page.pending == 0 {
            // Another node may have more; the leader knows.
            let from = until.map_or(waiting.seq, |until| until + 1);
            let next = read::next_decisive(bus, stream, &subject, from).await?;
            let next = next.filter(|next| next.seq <= waiting.upto);
            until = Some(next.as_ref().map_or(waiting.upto, |next| next.seq));
            commits.extend(next);
        }
        let Some(until) = until.map(|until| until.min(waiting.upto)) else {
            // More is said to be there, and nothing of it came.
            tokio::time::sleep(SAVES_EVERY).await;
            return Ok(());
        };
        let mut after = None;
        for stored in commits.iter().filter(|stored| stored.seq <= until) {
            let mut found = self.wanted(lane, stored).await?;
            if stored.seq == waiting.seq {
                found.retain(|message| message.index >= waiting.index);
            }
            if !self.lanes.has_room() && after.is_some() {
                break;
            }
            if !found.is_empty() {
                self.lanes.add(lane, after, stored.seq, found);
                after = Some(stored.seq);
            }
        }
        match (after, self.lanes.has_room()) {
            // Nothing of it is wanted (any more).
            (None, _) => {
                self.progress.pass(lane, (until + 1, 0));
                self.dirty = true;
            }
            (Some(last), true) => self.lanes.add(lane, Some(last), until, vec![]),
            (Some(_), false) => {}
        }
        Ok(())
    }

    /// The messages that a commit makes.
    async fn wanted(&mut self, aggregate: &str, stored: &Stored) -> Result<Vec<Message>, Ended> {
        let (tenant, hook) = (&self.tenant, &self.hook);
        let found = message::messages(tenant, hook, aggregate, stored.seq, &stored.body);
        let found = found.unwrap_or_else(|cause| {
            error!(seq = stored.seq, %cause, "a stored commit cannot be read and is not delivered");
            vec![]
        });
        if found.is_empty() {
            return Ok(found);
        }
        let concerned = (self.runs)
            .concerns(&self.means.bus, &hook.spec, aggregate, stored)
            .await?;
        Ok(if concerned { found } else { vec![] })
    }

    /// Reads the log on.
    async fn read_ahead(&mut self) -> Result<(), Ended> {
        let all = subject::events_of_tenant(&self.tenant);
        let (bus, stream) = (&self.means.bus, topology::EVENTS);
        let heard_of = *self.hints.borrow_and_update();
        let from = self.progress.read_to + 1;
        let page = read::read_from(bus, stream, &all, from, AHEAD).await?;
        let mut commits = page.messages;
        let last = commits
            .last()
            .map_or(self.progress.read_to, |last| last.seq);
        self.more = page.pending > 0;
        if !self.more && heard_of > last {
            // The node that answered is behind.
            let next = read::next_decisive(bus, stream, &all, last + 1).await?;
            self.more = next.is_some();
            commits.extend(next);
        }
        for stored in commits {
            if self.progress.is_full() {
                self.more = true;
                return Ok(());
            }
            self.take(&stored).await?;
        }
        Ok(())
    }

    async fn take(&mut self, stored: &Stored) -> Result<(), Ended> {
        let Some(aggregate) = subject::aggregate_of(&stored.subject) else {
            return Ok(());
        };
        let found = self.wanted(&aggregate, stored).await?;
        let before = self.progress.lanes.get(&aggregate).map(|lane| lane.upto);
        let first = found.first().map(|message| message.index);
        self.progress.read(&aggregate, stored.seq, first);
        self.dirty = true;
        if first.is_none() {
            return Ok(());
        }
        // What a lane that waits has is read when its turn comes.
        let whole = self.lanes.until(&aggregate);
        let follows = match before {
            None => {
                self.lanes.forget(&aggregate);
                self.lanes.add(&aggregate, None, stored.seq, found);
                return Ok(());
            }
            Some(upto) => whole.filter(|until| *until >= upto),
        };
        if follows.is_some() && self.lanes.has_room() {
            self.lanes.add(&aggregate, follows, stored.seq, found);
        }
        Ok(())
    }

    /// Notes what became of a try.
    async fn settle(&mut self, tried: Tried) -> Result<(), Ended> {
        let Tried {
            lane,
            message,
            outcome,
            took,
        } = tried;
        self.busy.remove(&lane);
        self.dirty = true;
        let now = self.means.bus.now();
        let tries = self
            .progress
            .lanes
            .get(&lane)
            .map_or(0, |lane| lane.attempts);
        let mut attempt = Attempt {
            at: now,
            message_id: message.id.clone(),
            type_name: message.type_name.clone(),
            seq: message.seq,
            index: message.index,
            attempt: tries.saturating_add(1),
            outcome: "delivered".to_owned(),
            status: None,
            error: None,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let next = (self.lanes.pop(&lane)).unwrap_or((message.seq, message.index + 1));
        let fault = match outcome {
            Ok(status) => {
                attempt.status = Some(status);
                metrics().tried("delivered", took);
                self.progress.remember(attempt);
                self.progress.taken(&lane, next, now);
                self.forget_if_done(&lane);
                return Ok(());
            }
            Err(fault) => fault,
        };
        (attempt.status, attempt.error) = (fault.status, Some(fault.reason.clone()));
        let schedule = Arc::clone(&self.means.settings.schedule);
        let chance = (now, rand::rng().random_range(0.0..1.0));
        let verdict = (self.progress).refused(&lane, &schedule, chance, fault.asked_ms);
        // It may wait for long: what it has is on the log.
        self.lanes.forget(&lane);
        let given_up = verdict == Verdict::GivenUp && !fault.is_gone();
        let outcome = if given_up { "given_up" } else { "failed" };
        metrics().tried(outcome, took);
        attempt.outcome = outcome.to_owned();
        let tries = attempt.attempt;
        self.progress.remember(attempt);
        if fault.is_gone() {
            return self.disable(DisabledBy::Gone, fault.reason).await;
        }
        match verdict {
            Verdict::Again => Ok(()),
            Verdict::Disable => self.disable(DisabledBy::Failing, fault.reason).await,
            Verdict::GivenUp => {
                self.give_up(&message, tries, fault.reason).await?;
                self.progress.pass(&lane, next);
                Ok(())
            }
        }
    }

    fn forget_if_done(&mut self, lane: &str) {
        if !self.progress.lanes.contains_key(lane) {
            self.lanes.forget(lane);
        }
    }

    async fn give_up(&self, message: &Message, attempts: u32, reason: String) -> Result<(), Ended> {
        let given_up = DeliveryGivenUp {
            webhook_id: self.hook.id,
            seq: message.seq,
            index: message.index,
            attempts,
            reason,
        };
        let id = CommandId::derive(&message.id, "give up");
        self.record(id, |hooks| webhook::give_up(hooks, &given_up))
            .await
    }

    async fn disable(&mut self, by: DisabledBy, reason: String) -> Result<(), Ended> {
        self.save().await?;
        let (id, changed) = (self.hook.id, self.hook.changed_seq);
        let command = CommandId::derive(&format!("{id}/{changed}"), "disable");
        let disable =
            |hooks: &Webhooks| webhook::disable_by_itself(hooks, id, changed, by, &reason);
        self.record(command, disable).await?;
        metrics().disabled.inc();
        Err(Ended::Disabled(reason))
    }

    async fn record(
        &self,
        command_id: CommandId,
        decide: impl Fn(&Webhooks) -> Vec<WebhookEvent>,
    ) -> Result<(), Ended> {
        let cause = Cause {
            command_id,
            correlation: None,
            traceparent: None,
            actor: None,
            now: self.means.bus.now(),
            source: "nexus/webhooks",
        };
        let (id, hint) = (&AggregateId::ONLY, ReadHint::UNKNOWN);
        let decide = |hooks: &Webhooks| Ok(decide(hooks));
        let done = self
            .means
            .store
            .execute(&self.tenant, id, hint, &cause, decide);
        done.await?;
        Ok(())
    }

    async fn save_in_time(&mut self) -> Result<(), Ended> {
        let rests = self.work.is_empty() && !self.more;
        if rests || self.saved_at.elapsed() >= SAVES_EVERY {
            self.save().await?;
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Ended> {
        if !self.dirty {
            return Ok(());
        }
        let (bus, id) = (&self.means.bus, self.hook.id);
        let saved = webhooks::save(bus, &self.tenant, id, self.version, &self.progress).await;
        self.saved_at = Instant::now();
        match saved {
            Ok(version) => {
                (self.version, self.dirty) = (version, false);
                Ok(())
            }
            Err(ProgressError::Write { .. }) if self.means.bus.is_connected() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
