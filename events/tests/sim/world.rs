//! Everything that there is: the log, the queue, the time and chance. Workers run one inside
//! another: at each point where a real one waits, it may die, or others may go on before it does.

use std::collections::BTreeMap;

use nexus_events::catalog::{Catalog, ModelInfo, Price};
use nexus_events::command::ExpireReservations;
use nexus_events::ledger::Ledger;
use nexus_events::{Command, CommandId, DomainError, Due, Position, ReservationId, Timestamp};

use super::client::Client;
use super::log::{Conflict, Kept, Log};
use super::queue::Queue;
use super::rng::Rng;
use crate::audit::Audit;

/// Why a worker did not get to its end.
pub(crate) enum Stop {
    /// It was killed: its command comes again.
    Killed,
    /// The decision was no: the caller is told, and the command is acknowledged.
    Rejected(DomainError),
}

pub(crate) type Step<T> = Result<T, Stop>;

/// How bad it is, in percent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Chaos {
    pub(crate) kill: u64,
    pub(crate) interleave: u64,
    pub(crate) stale: u64,
    pub(crate) again: u64,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) log: Log,
    pub(crate) queue: Queue,
    pub(crate) now: Timestamp,
    pub(crate) catalog: Catalog,
    pub(crate) chaos: Chaos,
    pub(crate) client: Client,
    pub(crate) audit: Audit,
    pub(crate) rejections: Vec<DomainError>,
    /// What was made due, and by which commit.
    due: BTreeMap<String, (u64, String)>,
    depth: u32,
    timers: u64,
    tells: bool,
    doubles: bool,
}

pub(crate) const LEDGER: &str = "main";
pub(crate) const MODEL: &str = "model";

impl World {
    pub(crate) fn new(seed: u64, tells: bool) -> Self {
        let mut rng = Rng::new(seed);
        let chaos = Chaos {
            kill: rng.pick(&[0, 3, 8, 15]),
            interleave: rng.pick(&[0, 4, 10]),
            stale: rng.pick(&[0, 30]),
            again: rng.pick(&[0, 5, 20]),
        };
        let mut queue = Queue::default();
        queue.drops_duplicates = rng.percent(50);
        let doubles = chaos.again > 0 || !queue.drops_duplicates;
        let client = Client::plan(&mut rng);
        let mut world = Self {
            rng,
            log: Log::default(),
            queue,
            now: Timestamp::from_millis(1_795_353_377_328),
            catalog: catalog(),
            chaos,
            client,
            audit: Audit::default(),
            rejections: vec![],
            due: BTreeMap::new(),
            depth: 0,
            timers: 0,
            tells,
            doubles,
        };
        super::client::first_limits(&mut world);
        world
    }

    pub(crate) fn model(&self) -> &ModelInfo {
        &self.catalog.models[MODEL]
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            let indent = "  ".repeat(self.depth as usize);
            println!("{} {indent}{}", self.now, what());
        }
    }

    /// A point at which a worker can die, and at which others go on.
    pub(crate) fn point(&mut self, place: &str) -> Step<()> {
        if self.rng.percent(self.chaos.kill) {
            self.tell(|| format!("killed {place}"));
            return Err(Stop::Killed);
        }
        if self.depth < 3 && self.rng.percent(self.chaos.interleave) {
            self.tell(|| format!("waits {place}"));
            self.depth += 1;
            for _ in 0..self.rng.below(12) {
                self.act();
            }
            self.depth -= 1;
            self.tell(|| format!("goes on {place}"));
        }
        Ok(())
    }

    /// One thing happens: a message is delivered, a client speaks, time passes, a timer fires.
    pub(crate) fn act(&mut self) {
        match self.rng.below(100) {
            0..=11 => super::client::speak(self),
            12..=19 => self.pass_time(),
            20..=22 => self.fire_timer(),
            _ => self.deliver(),
        }
    }

    fn pass_time(&mut self) {
        let millis = match self.rng.below(40) {
            0 => 1_800_000,
            1 | 2 => 700_000,
            3..=5 => 60_000,
            _ => 20,
        };
        self.now = self.now.plus_millis(self.rng.below(millis));
    }

    /// A timer for the next expiry: late, early or twice.
    pub(crate) fn fire_timer(&mut self) {
        self.timers += 1;
        let id = CommandId::derive("timer", &self.timers.to_string());
        self.queue.publish(id, ExpireReservations::default().into());
    }

    /// What the ledger holds.
    pub(crate) fn held(&self) -> Vec<ReservationId> {
        let ledger = self.log.latest::<Ledger>(LEDGER).state;
        ledger.reservations().map(|(&id, _)| id).collect()
    }

    /// Long after, the last timer fires: what nobody settled goes back.
    pub(crate) fn expire_all(&mut self) {
        self.chaos = Chaos::default();
        self.now = self.now.plus_millis(3_600_000);
        let id = CommandId::derive("timer", "last");
        let done = super::roles::handle(self, &id, ExpireReservations::default().into());
        assert!(done.is_ok(), "nobody is killed any more");
    }

    /// Whether two workers can be on one command at once, because its message came again or is
    /// there twice.
    pub(crate) fn doubles(&self) -> bool {
        self.doubles
    }

    fn deliver(&mut self) {
        let impatient = self.rng.percent(self.chaos.again);
        let Some((at, message)) = self.queue.deliver(&mut self.rng, impatient) else {
            return;
        };
        let (role, verb) = (message.command.role(), message.command.verb());
        self.tell(|| format!("#{at} {role}.{verb} {:?} begins", message.command));
        match super::roles::handle(self, &message.id, message.command) {
            Err(Stop::Killed) => return self.queue.give_back(at),
            Err(Stop::Rejected(error)) => {
                self.tell(|| format!("rejected: {error}"));
                self.rejections.push(error);
            }
            Ok(()) => {}
        }
        self.tell(|| format!("#{at} {role}.{verb} ends"));
        if self.rng.percent(self.chaos.again) {
            self.queue.give_back(at);
        } else {
            self.queue.acknowledge(at);
        }
    }

    /// How many commits of a stream a worker reads: all, or up to what its command names, as from
    /// a cache that has not heard of the rest.
    pub(crate) fn reads<A: Kept>(&mut self, id: &str, at_least: u64) -> usize {
        let len = self.log.len::<A>(id);
        let least = self.log.len_at::<A>(id, at_least);
        if least < len && self.rng.percent(self.chaos.stale) {
            least + self.rng.index(len - least)
        } else {
            len
        }
    }

    pub(crate) fn append<A: Kept>(
        &mut self,
        id: &str,
        expected: u64,
        commit: nexus_events::Commit<A::Event>,
    ) -> Result<u64, Conflict> {
        let seq = self.log.append::<A>(id, expected, commit)?;
        self.tell(|| {
            let commits = &A::streams(&self.log)[id].commits;
            let events = commits.last().map(|stored| &stored.commit.events);
            format!("seq {seq} {} {id}: {events:?}", A::KIND.as_str())
        });
        Ok(seq)
    }

    /// Every ledger commit passes the audit, event by event.
    pub(crate) fn audit_ledger(&mut self, before: &Ledger, seq: u64) {
        let stream = &self.log.ledgers[LEDGER];
        let stored = stream
            .commits
            .iter()
            .find(|stored| stored.seq == seq)
            .unwrap();
        let mut ledger = before.clone();
        for recorded in stored.commit.recorded(seq) {
            nexus_events::Aggregate::evolve(&mut ledger, &recorded.event, recorded.at);
            let at = Position {
                time: stored.commit.time,
                ..recorded.at
            };
            self.audit.observe(&recorded.event, at, &ledger);
        }
    }

    /// Publishes what a commit made due; an id always means the same command of the same commit.
    pub(crate) fn publish(&mut self, seq: u64, due: Vec<Due>) -> Step<()> {
        for Due { id, command, .. } in due {
            self.point("before publishing")?;
            let body = without_sequence(&command);
            let known = self
                .due
                .entry(id.as_str().to_owned())
                .or_insert((seq, body.clone()));
            assert_eq!(*known, (seq, body), "{id} was made due twice");
            self.tell(|| format!("due {} {}", command.role(), command.verb()));
            self.queue.publish(id, command);
        }
        self.point("after publishing")
    }
}

/// A command but for the sequence up to which its handler must read, which grows.
fn without_sequence(command: &Command) -> String {
    let mut body: serde_json::Value = serde_json::from_slice(&command.encode().unwrap()).unwrap();
    if let Some(run) = body.get_mut("run").and_then(|run| run.as_object_mut()) {
        run.remove("last_seq");
    }
    format!("{} {body}", command.type_name())
}

fn catalog() -> Catalog {
    let price = Price {
        input: 150_000,
        cached_input: 75_000,
        output: 600_000,
    };
    let model = ModelInfo {
        provider: "sim".to_owned(),
        context_tokens: 32_000,
        max_output_tokens: 1_000,
        price,
        tokenizer: None,
    };
    Catalog {
        default_model: MODEL.to_owned(),
        models: [(MODEL.to_owned(), model)].into(),
        ..Catalog::default()
    }
}
