//! Spending reaches a part of a limit: told once.

use super::*;

fn spends(story: Story, name: &str, spent: u64) -> Story {
    story.reserve(&asking(name)).settle(name, tokens(spent))
}

/// The percentages that the last commit told of.
fn told(story: &Story) -> Vec<u8> {
    let events = story.decided.as_ref().expect("it was not refused");
    let percent = |event: &LedgerEvent| match event {
        LedgerEvent::ThresholdReached(reached) => Some(reached.percent),
        _ => None,
    };
    events.iter().filter_map(percent).collect()
}

#[test]
fn each_is_told_when_it_is_reached_and_once() {
    let story = spends(given(&[(user(), 1_000)]), "a", 200);
    assert!(told(&story).is_empty());
    let story = story.reserve(&asking("b")).settle("b", tokens(600));
    assert_eq!(told(&story), [80]);
    let Some(LedgerEvent::ThresholdReached(reached)) = (story.decided.iter().flatten()).last()
    else {
        panic!("it is told last")
    };
    assert_eq!(
        (reached.unit, reached.limit, reached.spent),
        (Unit::Tokens, 1_000, 800)
    );
    let story = spends(story, "c", 50);
    assert!(told(&story).is_empty());
    let story = spends(story, "d", 110);
    assert_eq!(told(&story), [95]);
    let story = story.set(Scope::Tenant, Window::Lifetime, tokens_only(1));
    assert!(told(&story).is_empty());
}

#[test]
fn of_two_at_once_the_higher_one_is_told() {
    assert_eq!(told(&spends(given(&[(user(), 200)]), "a", 200)), [95]);
}

#[test]
fn they_are_told_again_in_the_next_window() {
    let story = given(&[]).set(user(), Window::Hour, tokens_only(200));
    let story = spends(story, "a", 190);
    assert_eq!(told(&story), [95]);
    let story = spends(story.after(3_600_000), "b", 170);
    assert_eq!(told(&story), [80]);
}

#[test]
fn they_are_told_again_when_the_limit_changes() {
    let story = spends(given(&[(user(), 200)]), "a", 170);
    assert_eq!(told(&story), [80]);
    let story = story.set(user(), Window::Lifetime, tokens_only(1_000));
    assert!(told(&story).is_empty());
    let story = story.set(user(), Window::Lifetime, tokens_only(170));
    assert_eq!(told(&story), [95]);
}

#[test]
fn where_nothing_is_spent_nothing_is_told() {
    let story = given(&[(user(), 200)]).set(user(), Window::Lifetime, tokens_only(0));
    assert!(told(&story).is_empty());
}

#[test]
fn one_may_set_others() {
    let set = SetLimits {
        scope: user(),
        window: Window::Lifetime,
        limits: tokens_only(200),
        on_exhausted: None,
        thresholds: Thresholds::try_from(vec![100, 50]).ok(),
    };
    let story = given(&[]);
    let events = set_limits(&story.ledger, &set, story.now);
    let story = spends(story.record(events), "a", 190);
    assert_eq!(told(&story), [50]);
    // They stay when only the limit is changed.
    let story = story.set(user(), Window::Lifetime, tokens_only(190));
    assert_eq!(told(&story), [100]);
}

#[test]
fn they_are_at_most_four_percentages() {
    let read = |percents: &[u8]| Thresholds::try_from(percents.to_vec());
    let all = read(&[90, 10, 90, 50]).expect("three different ones");
    assert_eq!(all.percents().collect::<Vec<_>>(), [10, 50, 90]);
    assert_eq!(read(&[]).map(Vec::from), Ok(vec![]));
    assert!(read(&[0]).is_err() && read(&[101]).is_err());
    assert!(read(&[1, 2, 3, 4, 5]).is_err());
}
