//! Windows: spend goes with its window, what is held stays.

use super::*;

const HOUR_MS: u64 = 3_600_000;

fn hourly(limit: u64) -> Story {
    given(&[]).set(user(), Window::Hour, tokens_only(limit))
}

#[test]
fn spend_of_the_last_hour_no_longer_counts() {
    hourly(250)
        .reserve(&asking("a"))
        .settle("a", tokens(200))
        .reserve(&asking("b"))
        .refused(user(), "tokens", 110)
        .after(HOUR_MS)
        .tokens(&user(), Window::Hour, 0, 0)
        .reserve(&asking("b"))
        .then(&["budget-reserved"]);
}

#[test]
fn what_is_held_counts_in_the_next_window_until_it_is_settled_there() {
    hourly(250)
        .reserve(&asking("a"))
        .after(HOUR_MS)
        .tokens(&user(), Window::Hour, 200, 0)
        .reserve(&asking("b"))
        .refused(user(), "tokens", 110)
        .settle("a", tokens(120))
        .tokens(&user(), Window::Hour, 0, 120);
}

#[test]
fn every_window_of_a_scope_counts() {
    let story = given(&[(user(), 10_000)])
        .set(user(), Window::Hour, tokens_only(300))
        .set(user(), Window::Day, tokens_only(500))
        .set(user(), Window::Month, tokens_only(700));
    let used = |story: Story, name: &str| story.reserve(&asking(name)).settle(name, tokens(200));
    let story = used(story, "a").tokens(&user(), Window::Hour, 0, 200);
    let story = used(story.after(HOUR_MS), "b").tokens(&user(), Window::Day, 0, 400);
    let story = story.after(HOUR_MS).reserve(&asking("c"));
    assert_eq!(
        story
            .decided
            .as_ref()
            .expect_err("the day is over")
            .shortage
            .window,
        Window::Day
    );
    let story = used(story.after(24 * HOUR_MS), "d").tokens(&user(), Window::Month, 0, 600);
    let story = story.after(24 * HOUR_MS).reserve(&asking("e"));
    assert_eq!(
        story
            .decided
            .as_ref()
            .expect_err("the month is over")
            .shortage
            .window,
        Window::Month
    );
    story
        .tokens(&user(), Window::Hour, 0, 0)
        .tokens(&user(), Window::Day, 0, 0)
        .tokens(&user(), Window::Lifetime, 0, 600);
}

#[test]
fn a_clock_that_goes_back_does_not_reopen_a_window() {
    let mut story = hourly(250)
        .after(HOUR_MS)
        .reserve(&asking("a"))
        .settle("a", tokens(200));
    story.now = Timestamp::from_millis(story.now.as_millis() - 3_600_000);
    story.reserve(&asking("b")).refused(user(), "tokens", 110);
}

#[test]
fn a_late_settlement_counts_when_it_comes() {
    hourly(1_000)
        .reserve(&asking("a"))
        .after(HOUR_MS)
        .expire()
        .after(HOUR_MS)
        .settle("a", tokens(200))
        .tokens(&user(), Window::Hour, 0, 200);
}

#[test]
fn new_limits_keep_what_the_window_spent() {
    hourly(1_000)
        .reserve(&asking("a"))
        .settle("a", tokens(150))
        .set(user(), Window::Hour, tokens_only(200))
        .tokens(&user(), Window::Hour, 0, 150)
        .after(HOUR_MS)
        .set(user(), Window::Hour, tokens_only(300))
        .tokens(&user(), Window::Hour, 0, 0);
}
