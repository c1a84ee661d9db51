//! What a commit makes due: once, and the same whenever it is asked again.

use super::play::Play;
use super::*;
use crate::command::{Command, RunRef};

/// A play's states and what each commit made due.
fn film() -> Vec<(Story, Vec<Due>)> {
    let mut play = Play::new();
    let mut film = vec![(play.story.clone(), play.story.reacts())];
    while play.steps(1) > 0 {
        if film
            .last()
            .is_some_and(|(story, _)| story.seq < play.story.seq)
        {
            film.push((play.story.clone(), play.story.reacts()));
        }
    }
    film
}

#[test]
fn a_later_look_at_a_commit_gives_the_same_commands_or_fewer() {
    let film = film();
    for (index, (story, first)) in film.iter().enumerate() {
        for (later, _) in &film[index..] {
            let again = super::super::react(&later.run, story.seq, later.seq);
            for due in &again {
                let known = first.iter().find(|known| known.id == due.id);
                let known = known.expect("nothing new becomes due by an old commit");
                assert_eq!(
                    names(std::slice::from_ref(known)),
                    names(std::slice::from_ref(due))
                );
            }
            let settles = |due: &[Due]| {
                names(due)
                    .iter()
                    .filter(|n| n.starts_with("settle"))
                    .count()
            };
            assert_eq!(
                settles(&again),
                settles(first),
                "a settlement is never forgotten"
            );
        }
    }
}

#[test]
fn commands_carry_the_run_with_its_first_and_last_sequence() {
    let story = given(calling());
    let due = super::super::react(&story.run, 30, 70);
    let Some(Command::CallModel(call)) = due.first().map(|due| &due.command) else {
        panic!("the call is due")
    };
    let run = RunRef {
        run_id: run_id(),
        first_seq: 10,
        last_seq: 70,
    };
    assert_eq!((call.run, call.turn), (run, 1));
}

#[test]
fn ids_differ_by_run_turn_and_step() {
    let mut ids: Vec<_> = film()
        .into_iter()
        .flat_map(|(_, due)| due)
        .map(|due| due.id.to_string())
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
    let id = |story: &Story| story.reacts().first().map(|due| due.id.clone());
    let mut other = started();
    if let Some(RunEvent::RunStarted(started)) = other.first_mut() {
        started.run_id = crate::ids::RunId::derive(&["other"]);
    }
    assert_ne!(id(&given([other])), id(&given([started()])));
}

#[test]
fn ids_are_pinned() {
    // A change of the derivation would make every command in flight a second time.
    let id = |story: Story| story.reacts().first().map(|due| due.id.to_string());
    let ids = [
        id(given([started()])),
        id(given([started(), admitted()])),
        id(given(calling())),
    ];
    assert_eq!(ids, PINNED.map(|id| Some(id.to_owned())));
}

const PINNED: [&str; 3] = [
    "c5f84c9e-2a4b-80e3-b6cc-e47cfc90b737",
    "2f438bde-835f-8dbd-ac9e-2bb8447711e7",
    "c17c3228-35f9-80c2-b7d7-221620e650a6",
];

#[test]
fn a_commit_that_moves_nothing_makes_nothing_due() {
    given(calling())
        .asked(|run| signal(run, "wait".into(), None))
        .due(&[]);
    given(ready(&["a"]))
        .when(|run| start_tool(run, 1, "a", at(0)))
        .due(&[]);
    assert_eq!(super::super::react(&Run::default(), 0, 0), vec![]);
}
