//! A made-up past: tenants, sessions, runs, tools and ledgers, interleaved by a seeded generator and
//! written as the roles would write it. The ledgers are real ones, so that settlements and expiries
//! add up; the rest follows the run's own order of steps.

mod access;
mod approval;
mod budget;
mod tools;

use std::collections::{BTreeMap, HashMap};

use nexus_events::aggregate::Event;
use nexus_events::command::{Budget, SetLimits};
use nexus_events::ledger::{
    self, Amounts, Ledger, LedgerEvent, Limits, OnExhausted, Scope, Window,
};
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::policy::{
    BundleActivated, BundlePublished, Difference, PolicyEvent, ShadowDecided,
};
use nexus_events::run::*;
use nexus_events::session::*;
use nexus_events::tool::registry::{ToolDeprecated, ToolRegistered, ToolRemoved, ToolsEvent};
use nexus_events::{
    Actor, Aggregate, AggregateId, AggregateKind, ApprovalId, Body, CommandId, Commit, Position,
    ReservationId, RunId, SessionId, Source, Tenant, Timestamp, subject,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// A message for the event stream.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
    pub(crate) events: usize,
}

/// What the generator makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) runs: usize,
    /// Runs that are under way at once.
    pub(crate) at_once: usize,
    /// Tools, denials, pauses, long texts, NULs. Without: the plain governed run.
    pub(crate) strange: bool,
}

#[derive(Debug)]
struct Going {
    tenant: Tenant,
    id: RunId,
    session: SessionId,
    user: String,
    turn: u32,
    /// How often the turn's model call asked the ledger anew.
    round: u32,
    step: Step,
    budget: bool,
    parent: Option<ParentLink>,
    /// Nobody ever settles for it.
    lost: bool,
}

#[derive(Debug)]
enum Step {
    Start,
    Judge,
    Reserve,
    /// The ledger makes it wait.
    Parked,
    Grant(ledger::Reservation),
    Answer,
    JudgeTools(Vec<ToolCall>),
    /// People are asked about some; the others are allowed.
    People(Vec<(ToolCall, ApprovalId)>, Vec<ToolCall>),
    StartTools(Vec<ToolCall>),
    EndTools(Vec<ToolCall>),
    Settle {
        last: bool,
        spent: Amounts,
    },
}

pub(crate) struct World {
    rng: StdRng,
    tenants: Vec<Tenant>,
    ledgers: HashMap<Tenant, Ledger>,
    /// The last run of sessions that may take another one.
    sessions: Vec<(Tenant, SessionId, RunId)>,
    now: Timestamp,
    count: u64,
    strange: bool,
    /// Some settlements come too late, some never.
    pub(crate) loses: bool,
    /// Runs that others may work for.
    parents: Vec<(Tenant, ParentLink)>,
    holds: Vec<(Tenant, ReservationId)>,
    pub(crate) out: Vec<Message>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            tenants: ["acme", "globex", "initech"]
                .map(|name| name.parse().unwrap())
                .to_vec(),
            ledgers: HashMap::new(),
            sessions: Vec::new(),
            now: Timestamp::from_millis(1_795_353_377_328),
            count: 0,
            strange: true,
            loses: true,
            parents: Vec::new(),
            holds: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Everything at once.
    pub(crate) fn past(seed: u64, shape: Shape) -> Vec<Message> {
        let mut world = Self::new(seed);
        world.strange = shape.strange;
        world.add(shape);
        world.out
    }

    pub(crate) fn add(&mut self, shape: Shape) {
        let (mut left, mut going) = (shape.runs, Vec::new());
        while left > 0 || !going.is_empty() {
            if left > 0 && going.len() < shape.at_once {
                left -= 1;
                let run = self.new_run();
                going.push(run);
            }
            if self.strange && self.rng.random_ratio(1, 40) {
                self.aside();
            }
            let at = self.rng.random_range(0..going.len());
            self.now = self.now.plus_millis(self.rng.random_range(0..40));
            if self.step(&mut going[at]) {
                going.swap_remove(at);
            }
        }
    }

    fn uuid(&mut self) -> Uuid {
        self.count += 1;
        let time = uuid::Timestamp::from_unix_time(
            u64::try_from(self.now.as_millis() / 1_000).unwrap(),
            0,
            0,
            0,
        );
        let mut id = *Uuid::new_v7(time).as_bytes();
        id[6..]
            .iter_mut()
            .for_each(|byte| *byte = self.rng.random());
        id[6] = 0x70 | (id[6] & 0x0f);
        id[8] = 0x80 | (id[8] & 0x3f);
        Uuid::from_bytes(id)
    }

    fn new_run(&mut self) -> Going {
        let id = RunId::new(self.uuid());
        let tenant = self.tenants[self.rng.random_range(0..3)].clone();
        let user = format!("user-{}", self.rng.random_range(0..5));
        let mut session = id.own_session();
        if self.strange && self.rng.random_ratio(1, 5) {
            session = SessionId::new(self.uuid());
            let opened = SessionOpened {
                session_id: session,
                user: actor(&user),
                budget: Some(Budget {
                    tokens: Some(50_000),
                    ..Budget::default()
                }),
                policy_context: serde_json::json!({ "risk": "low" }).as_object().cloned(),
                on_busy: None,
                metadata: labels(),
                opened_by_run: None,
            };
            self.session(&tenant, session, vec![opened.into()], Some(&user));
            self.attach(&tenant, session, id, None);
        } else if self.strange && self.rng.random_ratio(1, 5) && !self.sessions.is_empty() {
            let at = self.rng.random_range(0..self.sessions.len());
            let (tenant, session, last) = self.sessions.swap_remove(at);
            self.attach(&tenant, session, id, Some(last));
            return Going {
                tenant,
                id,
                session,
                user,
                turn: 1,
                round: 0,
                step: Step::Start,
                budget: false,
                parent: None,
                lost: false,
            };
        }
        let budget = self.strange && self.rng.random_ratio(1, 3);
        let mut parent = None;
        if self.strange && self.rng.random_ratio(1, 6) {
            let mut of_tenant = self.parents.iter().filter(|(of, _)| *of == tenant);
            parent = of_tenant.next_back().map(|(_, parent)| parent.clone());
        }
        Going {
            tenant,
            id,
            session,
            user,
            turn: 1,
            round: 0,
            step: Step::Start,
            budget,
            parent,
            lost: self.strange && self.loses && self.rng.random_ratio(1, 20),
        }
    }

    fn attach(&mut self, tenant: &Tenant, session: SessionId, run: RunId, last: Option<RunId>) {
        let previous = last.map(|run_id| PreviousRun {
            run_id,
            first_seq: 1,
            context_tokens: 10,
        });
        let attached = SessionRunAttached {
            run_id: run,
            previous,
        };
        self.session(tenant, session, vec![attached.into()], None);
    }

    /// True where the run has ended.
    fn step(&mut self, run: &mut Going) -> bool {
        if self.strange && !matches!(run.step, Step::Start | Step::Settle { .. }) {
            match self.rng.random_range(0..60) {
                0 => {
                    let reason = Some("enough\0".to_owned());
                    self.run_as(run, vec![RunCancelled { reason }.into()]);
                    self.leave(run);
                    return true;
                }
                1 => self.run_as(run, vec![RunPaused { reason: None }.into()]),
                2 => self.run_as(
                    run,
                    vec![
                        RunResumed {
                            reason: Some("go".into()),
                        }
                        .into(),
                    ],
                ),
                3 => self.run_as(
                    run,
                    vec![
                        RunSignalled {
                            input: "and \0 this".into(),
                            tokens: None,
                        }
                        .into(),
                    ],
                ),
                _ => {}
            }
        }
        match std::mem::replace(&mut run.step, Step::Judge) {
            Step::Start => self.start(run),
            Step::Judge => return self.judge(run),
            Step::Reserve => return self.reserve(run),
            Step::Parked => return self.wait(run),
            Step::Grant(held) => self.grant(run, &held),
            Step::Answer => self.answer(run),
            Step::JudgeTools(calls) => self.judge_tools(run, calls),
            Step::People(asked, allowed) => self.people(run, asked, allowed),
            Step::StartTools(calls) => return self.start_tools(run, calls),
            Step::EndTools(calls) => self.end_tools(run, calls),
            Step::Settle { last, spent } => return self.settle(run, last, spent),
        }
        false
    }

    fn start(&mut self, run: &mut Going) {
        let input = match self.strange.then(|| self.rng.random_range(0..8)) {
            Some(0) => Body::Stored {
                object: "sha256:00".into(),
                bytes: 70_000,
            },
            Some(1) => Body::from("nul \0 inside"),
            _ => Body::from("What is 12.5% of 80? Answer with the number alone, please."),
        };
        let started = RunStarted {
            given: None,
            invoke: None,
            run_id: run.id,
            session: SessionLink {
                id: run.session,
                previous: None,
                budget: None,
                policy_context: None,
            },
            user: actor(&run.user),
            agent: AgentRef {
                name: "default".into(),
                version: "1".into(),
            },
            model: "nexus-local".into(),
            tools: vec!["calculator".into()],
            pins: Default::default(),
            input,
            budget: run.budget.then_some(Budget {
                tokens: Some(100_000),
                ..Budget::default()
            }),
            parent: run.parent.clone(),
            max_turns: 16,
            prompt_tokens: None,
            queued: None,
            metadata: labels(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        };
        self.run_as(run, vec![started.into()]);
        if self.strange {
            let (run_id, scopes) = (run.id, run.scopes());
            let own_limits = run.own_limits();
            let link = ParentLink {
                run_id,
                scopes,
                own_limits,
            };
            self.parents.push((run.tenant.clone(), link));
        }
    }

    fn judge(&mut self, run: &mut Going) -> bool {
        let turn = run.turn;
        let mut events: Vec<RunEvent> = vec![];
        if turn == 1 {
            events.push(decided(PolicyPoint::RunStart, true).into());
        }
        let allowed = !(self.strange && self.rng.random_ratio(1, 25));
        events.push(decided(PolicyPoint::LlmCall { turn }, allowed).into());
        if !allowed {
            let (code, message) = ("policy_denied".into(), "llm.call: no".into());
            events.push(RunFailed { code, message }.into());
        }
        self.run(run, events);
        run.step = Step::Reserve;
        if !allowed {
            self.leave(run);
        }
        !allowed
    }

    fn answer(&mut self, run: &mut Going) {
        // Some providers report more than they were allowed.
        let overruns = self.strange && self.rng.random_ratio(1, 25);
        let usage = Usage {
            input_tokens: 180,
            cache_write_tokens: 30,
            output_tokens: if overruns { 4_000 } else { 40 },
            ..Usage::default()
        };
        let spent = Amounts {
            tokens: usage.total_tokens(),
            cost_usd_micros: 51,
            time_ms: 700,
            ..Amounts::default()
        };
        if self.strange && self.rng.random_ratio(1, 20) {
            let failed = LlmFailed {
                turn: run.turn,
                code: "provider_unavailable".into(),
                message: "no answer".into(),
                usage,
                cost_usd_micros: 51,
                duration_ms: 700,
                attempts: 3,
                again: None,
                routing: None,
                findings: vec![],
            };
            let (code, message) = (failed.code.clone(), failed.message.clone());
            self.run(run, vec![failed.into(), RunFailed { code, message }.into()]);
            run.step = Step::Settle { last: true, spent };
            return;
        }
        let tools = self.strange && run.turn < 3 && self.rng.random_ratio(1, 2);
        let tool_calls = if tools { calls() } else { vec![] };
        let done = LlmCompleted {
            turn: run.turn,
            provider: "local".into(),
            model: "qwen".into(),
            text: if tools {
                "".into()
            } else {
                "It is 10, as 12.5% is an eighth.".into()
            },
            tool_calls: tool_calls.clone(),
            finish: if tools {
                FinishReason::ToolCalls
            } else {
                FinishReason::Stop
            },
            usage,
            cost_usd_micros: 51,
            duration_ms: 700,
            time_to_first_token_ms: Some(90),
            attempts: 1,
            response_id: Some("resp-1".into()),
            route: "default model".into(),
            routing: None,
            findings: vec![],
            cached: None,
        };
        let mut events: Vec<RunEvent> = vec![done.into()];
        if !tools {
            let (tokens, cost_usd_micros) = (220 * u64::from(run.turn), 51 * u64::from(run.turn));
            events.push(
                RunCompleted {
                    tokens,
                    cost_usd_micros,
                    duration_ms: 900,
                    client_calls: vec![],
                }
                .into(),
            );
            self.sessions
                .push((run.tenant.clone(), run.session, run.id));
        }
        self.run(run, events);
        // The settlement goes its own way; tools begin after it here.
        let next = if tools {
            Step::JudgeTools(tool_calls)
        } else {
            Step::Judge
        };
        run.step = next;
        if self.settle(run, !tools, spent) || !tools {
            run.step = Step::Settle {
                last: true,
                spent: Amounts::default(),
            };
        }
    }

    /// What does not belong to a run.
    fn aside(&mut self) {
        let tenant = self.tenants[self.rng.random_range(0..3)].clone();
        // Chance is for what was there before: seeds stay what they are.
        if self.count.is_multiple_of(3) {
            self.tools(&tenant);
        }
        match self.rng.random_range(0..6) {
            0 => {
                let windows = [Window::Lifetime, Window::Hour, Window::Day];
                let set = SetLimits {
                    scope: [Scope::Tenant, Scope::User("user-1".into())]
                        [self.rng.random_range(0..2)]
                    .clone(),
                    window: windows[self.rng.random_range(0..3)],
                    limits: Limits {
                        tokens: Some(self.rng.random_range(2_000..20_000)),
                        tool_calls: self.rng.random_ratio(1, 2).then_some(10),
                        runs: self.rng.random_ratio(1, 2).then_some(4),
                        ..Limits::default()
                    },
                    on_exhausted: Some(OnExhausted::ALL[self.rng.random_range(0..4)]),
                    thresholds: vec![30, 60, 90].try_into().ok(),
                };
                let ledger = self.ledgers.entry(tenant.clone()).or_default();
                let events = ledger::set_limits(ledger, &set, self.now);
                self.ledger(&tenant, events, Some("root"));
            }
            1 => {
                self.now = self.now.plus_millis(3_600_000);
                self.refused(&tenant);
                self.keyed(&tenant);
            }
            4 => self.hold(&tenant),
            5 => self.release(),
            2 => {
                let digest = format!("sha256:{}", self.rng.random_range(0..4));
                let modules = BTreeMap::from([("a.rego".to_owned(), Body::from("package a"))]);
                let published = BundlePublished {
                    digest: digest.clone(),
                    modules,
                    data: "{}".into(),
                };
                self.policy(&tenant, vec![published.into(), activated(digest)]);
            }
            _ => {
                let digest = "builtin".to_owned();
                self.policy(&tenant, vec![activated(digest)]);
                if let Some((tenant, session, _)) = self.sessions.pop() {
                    self.session(
                        &tenant,
                        session,
                        vec![SessionClosed {}.into()],
                        Some("root"),
                    );
                }
            }
        }
    }

    fn run(&mut self, run: &Going, events: Vec<RunEvent>) {
        self.commit(
            &run.tenant,
            &run.id.into(),
            AggregateKind::Run,
            events,
            None,
        );
    }

    fn run_as(&mut self, run: &Going, events: Vec<RunEvent>) {
        let user = run.user.clone();
        self.commit(
            &run.tenant,
            &run.id.into(),
            AggregateKind::Run,
            events,
            Some(&user),
        );
    }

    fn session(
        &mut self,
        tenant: &Tenant,
        id: SessionId,
        events: Vec<SessionEvent>,
        by: Option<&str>,
    ) {
        self.commit(tenant, &id.into(), AggregateKind::Session, events, by);
    }

    fn policy(&mut self, tenant: &Tenant, events: Vec<PolicyEvent>) {
        self.commit(
            tenant,
            &AggregateId::ONLY,
            AggregateKind::Policy,
            events,
            Some("root"),
        );
    }

    fn ledger(&mut self, tenant: &Tenant, events: Vec<LedgerEvent>, by: Option<&str>) {
        let seq = self.count;
        let ledger = self.ledgers.entry(tenant.clone()).or_default();
        for (event, index) in events.iter().zip(0..) {
            let time = self.now;
            ledger.evolve(event, Position { seq, index, time });
        }
        if !events.is_empty() {
            self.commit(
                tenant,
                &AggregateId::ONLY,
                AggregateKind::Ledger,
                events,
                by,
            );
        }
    }

    fn commit<E: Event>(
        &mut self,
        tenant: &Tenant,
        id: &AggregateId,
        kind: AggregateKind,
        events: Vec<E>,
        by: Option<&str>,
    ) {
        self.count += 1;
        let subject = subject::events(tenant, kind, id);
        let message = message(&subject, self.count, self.now, events, by);
        self.out.push(message);
    }
}

/// One commit as a message.
pub(crate) fn message<E: Event>(
    subject: &str,
    number: u64,
    time: Timestamp,
    events: Vec<E>,
    by: Option<&str>,
) -> Message {
    let command: CommandId = format!("cmd-{number}").parse().unwrap();
    let commit = Commit {
        id: format!("{command}/test"),
        causation: command,
        correlation: None,
        time,
        traceparent: None,
        actor: by.map(actor),
        events,
    };
    let body = commit.encode("nexus/test", subject).unwrap();
    Message {
        subject: subject.to_owned(),
        body,
        events: commit.events.len(),
    }
}

pub(crate) fn actor(user: &str) -> Actor {
    Actor {
        user: user.to_owned(),
        roles: vec!["user".to_owned()],
        source: Some(Box::new(Source::new(
            "203.0.113.7".parse().ok(),
            Some("made up \0/1"),
        ))),
        ..Actor::default()
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), "search".to_owned())])
}

fn activated(digest: String) -> PolicyEvent {
    let activated = BundleActivated {
        digest,
        instead_of: None,
    };
    activated.into()
}

fn decided(point: PolicyPoint, allowed: bool) -> PolicyDecided {
    PolicyDecided {
        point,
        allowed,
        reasons: vec![
            if allowed {
                "allowed by default"
            } else {
                "not today"
            }
            .into(),
        ],
        rules: vec!["data.nexus.allow".into()],
        bundle: "builtin".into(),
        duration_us: 12,
        shadow: Some(Box::new(ShadowDecided {
            bundle: "builtin".into(),
            differs: (!allowed).then_some(Difference::WouldAllow),
            allowed: true,
            approval: false,
            rules: vec![],
            reasons: vec![],
            error: None,
            duration_us: 9,
        })),
        ..PolicyDecided::default()
    }
}

fn calls() -> Vec<ToolCall> {
    let call = |id: &str, name: &str, arguments| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments,
    };
    vec![
        call(
            "call-1",
            "calculator",
            serde_json::json!({ "expression": "80 / 8" }),
        ),
        call(
            "call-2",
            &"long".repeat(100),
            serde_json::json!("not json \0 at all"),
        ),
    ]
}
