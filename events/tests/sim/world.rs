//! Everything that there is: the log, the queue, the time and chance. Workers run one inside
//! another: at each point where a real one waits, it may die, or others may go on before it does.

use std::collections::BTreeMap;

use nexus_events::catalog::{Catalog, ModelInfo, Price};
use nexus_events::command::ExpireReservations;
use nexus_events::ledger::Ledger;
use nexus_events::run::Run;
use nexus_events::tool::registry::{self, Tools};
use nexus_events::{
    Aggregate, Command, CommandId, DomainError, Due, Position, ReservationId, RunId, Timestamp,
};

use super::client::Client;
use super::log::{Conflict, Kept, Log};
use super::queue::Queue;
use super::rng::Rng;
use crate::audit::{self, Audit};

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
    pub(crate) snapshot: u64,
}

/// Workers that are at work at once, one waiting for the next.
const DEPTH: usize = 3;

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) log: Log,
    pub(crate) queue: Queue,
    pub(crate) now: Timestamp,
    pub(crate) catalog: Catalog,
    pub(crate) chaos: Chaos,
    pub(crate) client: Client,
    pub(crate) audit: Audit,
    pub(crate) snapshots: u64,
    /// What people granted to those who waited.
    pub(crate) granted: u64,
    /// Up to which commit of the ledger each process has told who waited what became of it.
    pub(crate) told: [u64; DEPTH + 1],
    /// Commands that a timer delivers.
    timers: Vec<(Timestamp, CommandId, Command)>,
    /// What was made due, and by which commit.
    due: BTreeMap<String, (u64, String)>,
    pub(crate) depth: usize,
    /// What the tenant registered.
    pub(crate) tools: Tools,
    /// How often each call of a tool took effect that must not do so twice.
    pub(crate) effects: BTreeMap<(RunId, u32, String), u32>,
    expiries: u64,
    tells: bool,
    doubles: bool,
}

/// A tool for which twice is not once.
pub(crate) const BOOK: &str = "book";
pub(crate) const LEDGER: &str = "main";

impl World {
    pub(crate) fn new(seed: u64, tells: bool) -> Self {
        let mut rng = Rng::new(seed);
        let chaos = Chaos {
            kill: rng.pick(&[0, 3, 8, 15]),
            interleave: rng.pick(&[0, 4, 10]),
            stale: rng.pick(&[0, 30]),
            again: rng.pick(&[0, 5, 20]),
            snapshot: rng.pick(&[0, 0, 0, 10]),
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
            snapshots: 0,
            granted: 0,
            told: [0; DEPTH + 1],
            timers: vec![],
            due: BTreeMap::new(),
            depth: 0,
            tools: tools(),
            effects: BTreeMap::new(),
            expiries: 0,
            tells,
            doubles,
        };
        super::client::first_limits(&mut world);
        world
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            let indent = "  ".repeat(self.depth);
            println!("{} {indent}{}", self.now, what());
        }
    }

    /// A point at which a worker can die, and at which others go on.
    pub(crate) fn point(&mut self, place: &str) -> Step<()> {
        if self.rng.percent(self.chaos.kill) {
            self.tell(|| format!("killed {place}"));
            return Err(Stop::Killed);
        }
        if self.depth < DEPTH && self.rng.percent(self.chaos.interleave) {
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

    /// One thing happens: a message is delivered, somebody speaks, time passes, a timer fires.
    pub(crate) fn act(&mut self) {
        match self.rng.below(100) {
            0..=11 => super::client::speak(self),
            12..=19 => self.pass_time(),
            20..=22 => self.fire_timer(),
            23 | 24 => super::people::decide(self),
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

    /// Timers fire: late, early or twice. The ledger's is one for all that it has to look after.
    fn fire_timer(&mut self) {
        let id = self.expiry();
        self.queue.publish(id, ExpireReservations::default().into());
        self.ring(self.now);
        if !self.timers.is_empty() && self.rng.percent(30) {
            let early = self.rng.index(self.timers.len());
            let (_, id, command) = self.timers[early].clone();
            self.queue.publish(id, command);
        }
    }

    /// Delivers what was to be delivered by now.
    pub(crate) fn ring(&mut self, now: Timestamp) {
        let (due, later) = std::mem::take(&mut self.timers)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.timers = later;
        for (_, id, command) in due {
            self.queue.publish(id, command);
        }
    }

    pub(crate) fn expiry(&mut self) -> CommandId {
        self.expiries += 1;
        CommandId::derive("timer", &self.expiries.to_string())
    }

    /// What the ledger holds for runs that know nothing of it or have ended: nobody settles it.
    pub(crate) fn left_over(&self) -> Vec<ReservationId> {
        let ledger = self.log.latest::<Ledger>(LEDGER).state;
        let left = |run_id: RunId, id: &ReservationId| {
            let run = self.run(run_id);
            run.status.is_terminal() || !run.knows().contains(id)
        };
        let held = ledger.reservations();
        let held = held.filter_map(|(id, held)| Some((id, held.run_id?)));
        let waits = ledger.all_waiting();
        let waits = waits.filter_map(|(id, waits)| Some((id, waits.ask.step.as_ref()?.run.run_id)));
        let waits = waits.filter(|(id, run)| !self.run(*run).awaits().contains(id));
        let mut left: Vec<_> = held
            .chain(waits)
            .filter(|(id, run)| left(*run, id))
            .map(|(&id, _)| id)
            .collect();
        left.sort_unstable();
        left
    }

    pub(crate) fn run(&self, run_id: RunId) -> std::rc::Rc<Run> {
        self.log.latest::<Run>(&run_id.to_string()).state
    }

    /// Whether two workers can be on one command at once, because its message came again or is
    /// there twice.
    pub(crate) fn doubles(&self) -> bool {
        self.doubles
    }

    /// The world outside changes.
    pub(crate) fn takes_effect(&mut self, run: RunId, turn: u32, call_id: &str, tool: &str) {
        if tool == BOOK {
            *self
                .effects
                .entry((run, turn, call_id.to_owned()))
                .or_default() += 1;
        }
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
            Err(Stop::Rejected(error)) => self.tell(|| format!("rejected: {error}")),
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

    /// Every ledger commit passes the audit, event by event. Now and then a ledger that was written
    /// and read again takes the place of the one that is at work.
    pub(crate) fn audit_ledger(&mut self, before: &Ledger) {
        let stream = self.log.ledgers.get_mut(LEDGER).unwrap();
        let stored = stream.commits.last().unwrap();
        let mut ledger = before.clone();
        for recorded in stored.commit.recorded(stored.seq) {
            ledger.evolve(&recorded.event, recorded.at);
            self.audit.observe(&recorded.event, recorded.at, &ledger);
        }
        self.audit.nobody_waits_in_vain(None);
        if self.rng.percent(self.chaos.snapshot) {
            let bytes = ledger.save().expect("a ledger is JSON");
            let read = Ledger::restore(&bytes).expect("what was written can be read");
            let ids: Vec<_> = self.audit.reserved.keys().copied().collect();
            let view = |ledger| audit::view(ledger, &self.client.scopes, &ids, &self.client.runs);
            assert_eq!(view(&read), view(&ledger), "a snapshot differs");
            *stream.states.last_mut().unwrap() = read.into();
            self.snapshots += 1;
        }
    }

    /// Sets a timer that no commit made due.
    pub(crate) fn set(&mut self, due: Due) -> Step<()> {
        self.point("before setting a timer")?;
        let at = due.at.unwrap_or(self.now);
        self.timers.push((at, due.id, due.command));
        Ok(())
    }

    /// Publishes what a commit made due; an id always means the same command of the same commit.
    pub(crate) fn publish(&mut self, seq: u64, due: Vec<Due>) -> Step<()> {
        for due in due {
            self.point("before publishing")?;
            let Due {
                id, command, at, ..
            } = due;
            let body = without_sequence(&command);
            let known = self
                .due
                .entry(id.as_str().to_owned())
                .or_insert((seq, body.clone()));
            assert_eq!(*known, (seq, body), "{id} was made due twice");
            self.tell(|| format!("due {} {} {at:?}", command.role(), command.verb()));
            match at {
                Some(at) => self.timers.push((at, id, command)),
                None => self.queue.publish(id, command),
            }
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

/// One tool: that must not be called twice.
fn tools() -> Tools {
    let definition = serde_json::json!({
        "name": BOOK, "version": "1.0.0", "description": "Books a room.", "category": "http",
        "kind": "nats", "input_schema": { "type": "object" },
    });
    let definition = serde_json::from_value(definition).unwrap();
    let mut tools = Tools::default();
    for event in registry::register(&tools, definition).unwrap() {
        tools.evolve(&event, Position::default());
    }
    tools
}

/// Three models of one agent, the dearest first.
fn catalog() -> Catalog {
    let model = |price: u64, max_output_tokens| ModelInfo {
        provider: "sim".to_owned(),
        others: vec![],
        context_tokens: 32_000,
        max_output_tokens,
        price: Price {
            input: price,
            cached_input: price / 2,
            output: price * 4,
            ..Price::default()
        },
        tokenizer: None,
    };
    let models = [
        ("large", model(150_000, 1_000)),
        ("medium", model(15_000, 700)),
        ("small", model(0, 500)),
    ];
    let names = models.iter().map(|(name, _)| (*name).to_owned()).collect();
    Catalog {
        default_model: "large".to_owned(),
        models: models.map(|(name, model)| (name.to_owned(), model)).into(),
        agents: [("default".to_owned(), names)].into(),
        ..Catalog::default()
    }
}
