//! Any list of a run's events, sensible or not: it can be folded, it ends once, and what a commit
//! made due has the same ids whenever it is asked again.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;

use nexus_events::policy::{Policy, PolicyEvent};
use nexus_events::run::{Run, RunEvent, react};
use nexus_events::session::{Session, SessionEvent};
use nexus_events::{Aggregate, CommandId, Commit, Event, Position, RunId, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Events of every type: the fixtures, with turns and calls that meet each other.
fn events() -> Vec<RunEvent> {
    let mut events = vec![];
    let all = RunEvent::type_names().iter();
    for (name, mut data) in all.flat_map(|name| fixtures(name)) {
        for (turn, call_id) in [(1, "a"), (1, "b"), (2, "a")] {
            set(&mut data, turn, call_id);
            for allowed in [true, false] {
                if data.get("allowed").is_some() {
                    data["allowed"] = allowed.into();
                    events.extend(points(turn, call_id).map(|point| {
                        data["point"] = point;
                        read(&name, &data)
                    }));
                } else {
                    events.push(read(&name, &data));
                }
            }
        }
    }
    events.dedup();
    events
}

/// Everything that is kept of a type, the plain one first.
fn fixtures(type_name: &str) -> Vec<(String, serde_json::Value)> {
    let folder = format!("{}/fixtures", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            let rest = name.strip_prefix(type_name);
            rest.is_some_and(|rest| rest == ".json" || rest.starts_with('+'))
        })
        .collect();
    // '+' comes before '.'.
    names.sort_by_key(|name| (name.contains('+'), name.clone()));
    let read = |name: String| {
        let path = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let data = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        (type_name.to_owned(), data)
    };
    names.into_iter().map(read).collect()
}

fn set(data: &mut serde_json::Value, turn: u32, call_id: &str) {
    if data.get("turn").is_some() {
        data["turn"] = turn.into();
    }
    if data.get("call_id").is_some() {
        data["call_id"] = call_id.into();
    }
    if let Some(serde_json::Value::Array(calls)) = data.get_mut("tool_calls") {
        calls.truncate(1);
        calls
            .iter_mut()
            .for_each(|call| call["id"] = call_id.into());
    }
}

fn points(turn: u32, call_id: &str) -> impl Iterator<Item = serde_json::Value> {
    [
        serde_json::json!({ "at": "run.start" }),
        serde_json::json!({ "at": "llm.call", "turn": turn }),
        serde_json::json!({ "at": "tool.call", "turn": turn, "call_id": call_id }),
    ]
    .into_iter()
}

fn read<E: Event>(name: &str, data: &serde_json::Value) -> E {
    E::decode(name, &serde_json::value::to_raw_value(data).unwrap()).unwrap()
}

fn commits() -> impl Strategy<Value = Vec<Vec<RunEvent>>> {
    let started = events().into_iter().next().unwrap();
    vec(vec(select(events()), 1..4), 1..40).prop_map(move |mut commits| {
        commits[0][0] = started.clone();
        commits
    })
}

fn fold(commits: &[Vec<RunEvent>]) -> Vec<Run> {
    let mut run = Run::default();
    let mut states = vec![];
    for (commit, seq) in commits.iter().zip(1..) {
        for (event, index) in commit.iter().zip(0..) {
            run.evolve(
                event,
                Position {
                    seq,
                    index,
                    ..Position::default()
                },
            );
        }
        states.push(run.clone());
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_end_is_the_end(commits in commits()) {
        let mut ended = None;
        for run in fold(&commits) {
            if let Some(status) = ended {
                prop_assert_eq!(run.status, status);
            }
            ended = run.status.is_terminal().then_some(run.status);
        }
    }

    #[test]
    fn what_a_commit_made_due_keeps_its_ids(commits in commits(), later in any::<Index>()) {
        let states = fold(&commits);
        let later = &states[later.index(states.len())];
        for (run, seq) in states.iter().zip(1..) {
            let ids = |last_seq| -> Vec<_> {
                react(run, seq, last_seq).into_iter().map(|due| due.id.to_string()).collect()
            };
            let first = ids(seq);
            prop_assert_eq!(&first, &ids(seq + 5));
            let unique: BTreeSet<_> = first.iter().collect();
            prop_assert_eq!(unique.len(), first.len());
            // Later on, a settlement that was due is still found.
            let settled = |run| -> Vec<_> {
                let due = react(run, seq, seq).into_iter();
                due.filter(|due| due.command.verb() == "settle").map(|due| due.id).collect()
            };
            if later.settling.len() >= run.settling.len() {
                prop_assert_eq!(settled(run), settled(later));
            }
        }
    }

    /// What is recorded, written and read again gives the same state.
    #[test]
    fn a_replay_is_the_live_state(
        run in commits(),
        session in any_commits::<SessionEvent>(),
        policy in any_commits::<PolicyEvent>(),
    ) {
        replays::<Run>(&run);
        replays::<Session>(&session);
        replays::<Policy>(&policy);
    }
}

fn any_commits<E: Event>() -> impl Strategy<Value = Vec<Vec<E>>> {
    let events: Vec<E> = E::type_names()
        .iter()
        .flat_map(|name| fixtures(name))
        .map(|(name, data)| read(&name, &data))
        .collect();
    vec(vec(select(events), 1..4), 1..10)
}

fn replays<A: Aggregate>(commits: &[Vec<A::Event>]) {
    let (mut live, mut replayed) = (A::default(), A::default());
    for (events, seq) in commits.iter().zip(1_u64..) {
        let commit = Commit {
            id: format!("{seq}/test"),
            causation: CommandId::derive("test", &seq.to_string()),
            correlation: Some(RunId::derive(&["run"])),
            time: Timestamp::from_millis(1_795_353_377_328).plus_millis(seq),
            traceparent: None,
            actor: None,
            events: events.clone(),
        };
        let read = Commit::decode(&commit.encode("test", "subject").unwrap()).unwrap();
        assert_eq!(read, commit);
        commit
            .recorded(seq)
            .for_each(|recorded| live.evolve(&recorded.event, recorded.at));
        read.recorded(seq)
            .for_each(|recorded| replayed.evolve(&recorded.event, recorded.at));
    }
    assert_eq!(format!("{live:?}"), format!("{replayed:?}"));
}
