//! Words into a running run.

use super::*;

fn says(text: &str) -> impl FnOnce(&Run) -> Result<Vec<RunEvent>, DomainError> + '_ {
    move |run| signal(run, text.into(), None)
}

fn answers(calls: &[(&str, &str)]) -> impl FnOnce(&Run) -> Vec<RunEvent> {
    let outcome = ModelOutcome::Completed(answer(1, calls));
    move |run| record_model(run, outcome, at(1_000))
}

fn heard(run: &Run) -> Vec<&str> {
    let user = |entry: &'_ Entry| matches!(entry, Entry::User(_));
    (run.entries.iter().filter(|entry| user(entry)))
        .map(|entry| match entry {
            Entry::User(text) => text.inline().expect("it is short"),
            _ => panic!("only the person's words"),
        })
        .collect()
}

#[test]
fn a_word_before_the_answer_is_seen_at_the_next_turn_in_order() {
    let before: [Vec<Vec<RunEvent>>; 4] = [
        vec![started()],
        vec![started(), admitted()],
        calling().to_vec(),
        calling()[..2].to_vec(),
    ];
    for (commits, index) in before.into_iter().zip(0..) {
        let missing = calling().into_iter().skip(commits.len());
        let story = given(commits)
            .asked(says("wait"))
            .then(&["signalled"])
            .due(&[]);
        let story = missing.fold(story, Story::record);
        assert_eq!(
            heard(&story.run),
            ["hello"],
            "not in the turn that is going ({index})"
        );
        let story = story
            .asked(says("and then?"))
            .when(answers(&[]))
            .then(&["llm-completed"])
            .due(&["settle 120", "evaluate"])
            .is(Status::Running);
        assert_eq!(heard(&story.run), ["hello", "wait", "and then?"]);
        assert_eq!((story.run.turn, story.run.signals.len()), (2, 0));
    }
}

#[test]
fn a_word_while_tools_are_executed_is_seen_with_their_results() {
    let story = given(ready(&["a"]))
        .asked(says("hurry"))
        .when(|run| start_tool(run, 1, "a", at(0)))
        .when(|run| record_tool(run, result_of(1, "a")));
    let last: Vec<_> = story.run.entries.iter().rev().take(2).collect();
    assert!(
        matches!(last[..], [Entry::User(_), Entry::Tool { .. }]),
        "{last:?}"
    );
}

#[test]
fn a_word_after_the_answer_is_refused() {
    given(calling())
        .when(answers(&[]))
        .asked(says("and?"))
        .refused("wrong_state");
    given([]).asked(says("and?")).refused("not_found");
    given(calling())
        .asked(|run| cancel(run, None))
        .asked(says("and?"))
        .refused("wrong_state");
}

#[test]
fn a_paused_run_can_be_told_something() {
    given(calling())
        .asked(|run| pause(run, None))
        .asked(says("later"))
        .then(&["signalled"]);
}

#[test]
fn no_more_than_64_wait() {
    let full = (0..64).fold(given(calling()), |story, _| story.asked(says("x")));
    let full = full
        .then(&["signalled"])
        .asked(says("x"))
        .refused("invalid");
    full.when(answers(&[]))
        .asked(says("x"))
        .then(&["signalled"]);
}
