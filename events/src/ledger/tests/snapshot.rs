//! A ledger that was written and read goes on as if nothing had happened.

use super::*;
use crate::command::EndRun;

fn restored(ledger: &Ledger) -> Ledger {
    let bytes = ledger.save().expect("it can be written");
    Ledger::restore(&bytes).expect("it can be read")
}

/// Something of everything: held, settled, expired, waiting and answered, in windows, for runs.
fn eventful() -> Story {
    let own = |ask: Ask| Ask {
        own_limits: vec![own(Scope::Run(run()), tokens_only(5_000))],
        ..ask
    };
    given(&[(Scope::Tenant, 10_000)])
        .set(Scope::Tenant, Window::Hour, tokens_only(220))
        .with(user(), tokens_only(420), OnExhausted::Park)
        .reserve(&own(asking("settled")))
        .settle("settled", tokens(180))
        .set(Scope::Tenant, Window::Hour, tokens_only(9_000))
        .reserve(&asking("expired"))
        .after(90_000)
        .expire()
        .reserve(&asking("held"))
        .reserve(&asking("served"))
        .reserve(&asking("first"))
        .reserve(&asking("second"))
        .settle("held", tokens(30))
        .refuse("second")
}

/// What comes next, one thing after another: all that there is to be compared.
fn future(mut story: Story) -> Vec<LedgerEvent> {
    let mut events = vec![];
    let mut take = |story: Story| {
        events.extend(story.decided.clone().unwrap_or_default());
        story
    };
    for name in [
        "settled", "expired", "held", "served", "first", "second", "new",
    ] {
        story = take(story.reserve(&asking(name)));
    }
    for name in ["settled", "expired", "served", "first"] {
        story = take(story.settle(name, tokens(50)));
    }
    story = take(story.set(user(), Window::Lifetime, tokens_only(5_000)));
    story = take(story.after(3_600_000).expire());
    let end = end_run(&story.ledger, &EndRun { run_id: run() }, story.now);
    take(story.record(end));
    events
}

#[test]
fn it_is_the_same_ledger() {
    let story = eventful();
    let before = &story.ledger;
    assert!(before.waiting(id("first")).is_some() && before.expired(id("expired")).is_some());
    assert!(before.answer(id("second")).is_some() && before.was_settled(id("settled")));
    let after = restored(before);
    for name in ["settled", "expired", "held", "served", "first", "second"] {
        let view = |ledger: &Ledger| {
            let id = id(name);
            let held = (ledger.reservation(id).cloned(), ledger.expired(id).cloned());
            let waits = (ledger.waiting(id).cloned(), ledger.answer(id).cloned());
            (held, waits, ledger.was_settled(id))
        };
        assert_eq!(view(&after), view(before), "{name}");
    }
    let scopes = [Scope::Tenant, user(), Scope::Run(run())];
    let accounts = |ledger: &Ledger| -> Vec<Account> {
        ledger
            .accounts_of(&scopes)
            .map(|(.., account)| *account)
            .collect()
    };
    assert_eq!(accounts(&after), accounts(before));
    assert_eq!(accounts(&after).len(), 4);
    assert_eq!(after.next_due(story.now), before.next_due(story.now));
    assert!(after.is_in_flight(run()));
    assert_eq!(after.answers_after(0).len(), before.answers_after(0).len());
}

#[test]
fn it_decides_the_same() {
    let story = eventful();
    let ledger = restored(&story.ledger);
    let twin = Story {
        ledger,
        ..story.clone()
    };
    let events = future(story);
    assert!(events.len() > 8, "{events:#?}");
    assert_eq!(future(twin), events);
}

#[test]
fn what_is_no_ledger_is_not_read() {
    assert!(Ledger::restore(b"").is_none());
    assert!(Ledger::restore(b"{}").is_none());
    assert!(
        Ledger::restore(
            &restored(&Ledger::default())
                .save()
                .expect("it can be written")
        )
        .is_some()
    );
}
