//! People at their desks: whoever starts runs and steers them, whoever answers what policy asks, and
//! whoever says what became of a call that is in doubt, or remembers a run that rests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexus_bus::{CommandMeta, publish_command};
use nexus_events::command::{Answer, ControlRun, DecideApproval, ResolveTool, ResumeRun};
use nexus_events::run::{Resolution, Run, Step, ToolPhase};
use nexus_events::{Actor, ApprovalId, Command, CommandId, RunId, Tenant};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::caller::{Ask, Who};
use super::deploy::BOSS;
use super::load::{Act, RunSpec, Via, tenant};
use super::logbook::Logbook;
use super::platform::Platform;

const SOURCE: &str = "nexus/chaos";
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Somebody who was not heard says it again.
const SAY_AGAIN: Duration = Duration::from_secs(6);
/// What an impatient caller gives the first request.
const IMPATIENCE: Duration = Duration::from_millis(30);
const AGAIN: Duration = Duration::from_millis(250);

/// What became of asking for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody has answered yet.
    Unknown,
    /// 202, or the bus has the command.
    Accepted,
    /// It was refused for good.
    Refused(String),
}

/// What became of each, by its place in the load.
pub(crate) type Answers = Arc<Mutex<BTreeMap<usize, Asked>>>;

/// Asks for every run at its time and steers it; ends when every one is known.
pub(crate) async fn callers(platform: &Arc<Platform>, specs: &[RunSpec], answers: &Answers) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for spec in specs.iter().cloned() {
        let (platform, answers) = (Arc::clone(platform), Arc::clone(answers));
        note(&answers, spec.number, Asked::Unknown);
        tasks.spawn(async move {
            let at = Duration::from_millis(spec.at_ms);
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            let asked = start(&platform, &spec).await;
            let accepted = asked == Asked::Accepted;
            note(&answers, spec.number, asked);
            if accepted {
                steer(&platform, &spec).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

fn note(answers: &Answers, number: usize, asked: Asked) {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.insert(number, asked);
}

async fn start(platform: &Platform, spec: &RunSpec) -> Asked {
    match spec.via {
        Via::Bus => start_on_bus(platform, spec).await,
        Via::Http => start_over_http(platform, spec).await,
    }
}

async fn start_over_http(platform: &Platform, spec: &RunSpec) -> Asked {
    let mut start = spec.start.clone();
    let key = start.idempotency_key.take();
    let body = serde_json::to_value(&start).unwrap_or_default();
    let mut ask = Ask::post(Who::user(spec.tenant, spec.user), "/v1/runs", body);
    ask.key = key.as_deref();
    let mut impatience = spec.impatient.then_some(IMPATIENCE);
    for attempt in spec.number.. {
        match ask.once(platform, attempt, impatience.take()).await {
            // With a sequence or without: the run ends.
            Some((202, _)) => return Asked::Accepted,
            Some((status, body)) if status < 500 && ![408, 429].contains(&status) => {
                return Asked::Refused(format!("{status} {}", body["code"]));
            }
            _ => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
    Asked::Unknown
}

async fn start_on_bus(platform: &Platform, spec: &RunSpec) -> Asked {
    let key = spec.start.idempotency_key.as_deref().unwrap_or_default();
    let actor = Actor {
        user: spec.user.to_owned(),
        ..Actor::default()
    };
    // A caller that is not sure sends another command for the same run.
    let times = 1 + usize::from(spec.impatient);
    let commands = (0..times).map(|time| CommandId::derive(key, &format!("start-{time}")));
    for id in commands {
        let command = Command::from(spec.start.clone());
        publish(platform, &tenant(spec.tenant), command, id, actor.clone()).await;
    }
    Asked::Accepted
}

/// Until the bus has it.
async fn publish(
    platform: &Platform,
    tenant: &Tenant,
    command: Command,
    id: CommandId,
    actor: Actor,
) {
    let mut meta = CommandMeta::new(id, SOURCE);
    meta.actor = Some(actor);
    while let Err(error) = publish_command(&platform.bus, tenant, &command, &meta).await {
        tracing::debug!(%error, "a command was not taken");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn steer(platform: &Platform, spec: &RunSpec) {
    let who = Who::user(spec.tenant, spec.user);
    let path = |verb: &str| format!("/v1/runs/{}/{verb}", spec.run_id());
    let pause = |ms| tokio::time::sleep(Duration::from_millis(ms));
    let say = async |verb: &str, body: Value| {
        // A run that has ended meanwhile cannot be steered, and says so.
        Ask::post(who, path(verb), body).insist(platform).await;
    };
    match spec.act {
        Act::Nothing => {}
        Act::Cancel { after_ms } => {
            pause(after_ms).await;
            say("cancel", json!({ "reason": "chaos" })).await;
        }
        Act::Pause { after_ms, for_ms } => {
            pause(after_ms).await;
            say("pause", json!({})).await;
            pause(for_ms).await;
            say("resume", json!({})).await;
        }
        Act::Signal { after_ms } => {
            pause(after_ms).await;
            say("signal", json!({ "input": "Go on." })).await;
        }
    }
}

/// What somebody has to say about a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Answer(RunId, ApprovalId),
    Resolve(RunId, String, u32),
    Resume(RunId),
}

/// Answers and resolves for as long as it is not dropped.
pub(crate) async fn desk(platform: &Platform, logbook: &Logbook, specs: &[RunSpec]) {
    let grants: BTreeMap<RunId, bool> = specs
        .iter()
        .map(|spec| (spec.run_id(), spec.grants))
        .collect();
    let mut said: BTreeMap<Word, Instant> = BTreeMap::new();
    loop {
        let words = words(logbook, &grants);
        for (word, tenant, command) in words {
            // Whoever paused a run is given time to resume it himself.
            if matches!(word, Word::Resume(_)) && !said.contains_key(&word) {
                said.insert(word, Instant::now());
                continue;
            }
            let lately = said.get(&word).is_some_and(|at| at.elapsed() < SAY_AGAIN);
            if !lately {
                let actor = Actor {
                    user: BOSS.to_owned(),
                    roles: vec![BOSS.to_owned(), "admin".to_owned()],
                    ..Actor::default()
                };
                let id = CommandId::random(uuid::Uuid::now_v7());
                publish(platform, &tenant, command, id, actor).await;
                said.insert(word, Instant::now());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn words(logbook: &Logbook, grants: &BTreeMap<RunId, bool>) -> Vec<(Word, Tenant, Command)> {
    let book = logbook.book();
    let mut words = vec![];
    for (id, (tenant, run)) in &book.runs {
        if run.status.is_terminal() {
            continue;
        }
        let grant = grants.get(id).copied().unwrap_or(true);
        if run.paused {
            words.push((Word::Resume(*id), tenant.clone(), resume(*id)));
        }
        for approval in run.approvals.keys() {
            let command = decide(*id, *approval, grant);
            words.push((Word::Answer(*id, *approval), tenant.clone(), command));
        }
        for (call_id, attempt) in in_doubt(run) {
            let command = resolve(*id, &call_id, attempt);
            words.push((
                Word::Resolve(*id, call_id, attempt),
                tenant.clone(),
                command,
            ));
        }
    }
    words
}

fn decide(run_id: RunId, approval_id: ApprovalId, grant: bool) -> Command {
    let answer = match grant {
        true => Answer::Approve,
        false => Answer::Deny,
    };
    Command::from(DecideApproval {
        run_id,
        approval_id,
        answer,
        reason: None,
        subject: None,
        arguments: None,
    })
}

/// A pause that was asked for twice may have come after whoever asked has resumed.
fn resume(run_id: RunId) -> Command {
    let reason = Some("it was forgotten".to_owned());
    Command::from(ResumeRun(ControlRun { run_id, reason }))
}

/// It was done: the world knows, and nobody need do it again.
fn resolve(run_id: RunId, call_id: &str, attempt: u32) -> Command {
    Command::from(ResolveTool {
        run_id,
        call_id: call_id.to_owned(),
        resolution: Resolution::Done,
        output: Some(json!({ "done": "as a person says" })),
        reason: None,
        attempt: Some(attempt),
    })
}

/// Calls of which nobody can say whether they took effect, and which start of each.
fn in_doubt(run: &Run) -> Vec<(String, u32)> {
    let Step::Tools { calls, .. } = &run.step else {
        return vec![];
    };
    let doubtful = calls.iter().filter(|call| call.phase == ToolPhase::InDoubt);
    doubtful
        .map(|call| (call.call.id.clone(), call.attempts))
        .collect()
}
