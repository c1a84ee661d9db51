//! Webhooks from creation to deletion, and how far they come.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::progress::{MOST_LANES, Progress, Schedule, Verdict};
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + seconds * 1000)
}

fn spec(url: &str) -> WebhookSpec {
    WebhookSpec {
        url: url.into(),
        description: None,
        types: vec![],
        agent: None,
        session_id: None,
    }
}

fn new(nth: u128) -> WebhookCreated {
    WebhookCreated {
        webhook_id: WebhookId::new(Uuid::from_u128(nth)),
        spec: spec("https://example.com/hook"),
        secret_id: Uuid::from_u128(100 + nth),
        from_seq: None,
    }
}

fn fold(hooks: &mut Webhooks, seq: u64, events: &[WebhookEvent]) {
    for event in events {
        let position = Position {
            seq,
            ..Position::default()
        };
        hooks.evolve(event, position);
    }
}

fn made() -> (Webhooks, WebhookId) {
    let mut hooks = Webhooks::default();
    let created = new(1);
    let events = create(&hooks, &created, &Reach::default()).unwrap();
    fold(&mut hooks, 7, &events);
    (hooks, created.webhook_id)
}

#[test]
fn a_webhook_is_created_once_and_changes_until_it_is_deleted() {
    let (mut hooks, one) = made();
    assert_eq!(hooks.webhooks[&one].start_after, 7);
    let again = create(&hooks, &new(1), &Reach::default()).unwrap();
    assert_eq!(again, vec![], "delivered twice");

    let elsewhere = spec("https://example.org/");
    let events = update(&hooks, one, &elsewhere, &Reach::default()).unwrap();
    fold(&mut hooks, 9, &events);
    assert_eq!(hooks.webhooks[&one].changed_seq, 9);
    let same = update(&hooks, one, &elsewhere, &Reach::default()).unwrap();
    assert_eq!(same, vec![]);

    let events = rotate(&hooks, one, Uuid::from_u128(5), 60_000, at(0)).unwrap();
    fold(&mut hooks, 10, &events);
    let hook = &hooks.webhooks[&one];
    assert_eq!(hook.secret_id, Uuid::from_u128(5));
    assert_eq!(hook.previous, Some((Uuid::from_u128(101), at(60))));

    let events = disable(&hooks, one, Some("holiday")).unwrap();
    fold(&mut hooks, 11, &events);
    assert_eq!(disable(&hooks, one, None).unwrap(), vec![]);
    assert!(hooks.webhooks[&one].disabled.is_some());
    let events = enable(&hooks, one).unwrap();
    fold(&mut hooks, 12, &events);
    assert_eq!(enable(&hooks, one).unwrap(), vec![]);

    let events = delete(&hooks, one).unwrap();
    fold(&mut hooks, 13, &events);
    assert_eq!(delete(&hooks, one).unwrap_err().code(), "not_found");
}

#[test]
fn the_platform_stops_only_what_it_saw_fail() {
    let (mut hooks, one) = made();
    let events = disable_by_itself(&hooks, one, 6, DisabledBy::Failing, "500");
    assert_eq!(events, vec![], "it was changed meanwhile");
    let events = disable_by_itself(&hooks, one, 7, DisabledBy::Gone, "410");
    fold(&mut hooks, 8, &events);
    let disabled = hooks.webhooks[&one].disabled.clone().unwrap();
    assert_eq!((disabled.by, events.len()), (DisabledBy::Gone, 1));
}

#[test]
fn what_is_not_valid_is_refused_with_its_field() {
    let (hooks, one) = made();
    let reach = Reach::default();
    let refused = |spec: &WebhookSpec| update(&hooks, one, spec, &reach).unwrap_err().to_string();
    let good = spec("https://example.com/");
    for types in [
        vec!["run.started"],
        vec!["nexus.run.*.v1"],
        vec!["nexus.A"],
        vec!["nexus.a"; 65],
    ] {
        let types = types.into_iter().map(str::to_owned).collect();
        let bad = WebhookSpec {
            types,
            ..good.clone()
        };
        assert!(refused(&bad).starts_with("types: "), "{bad:?}");
    }
    let bad = WebhookSpec {
        description: Some("a\nb".into()),
        ..good.clone()
    };
    assert!(refused(&bad).starts_with("description: "));
    assert!(refused(&spec("http://example.com/")).starts_with("url: "));
    assert!(rotate(&hooks, one, Uuid::nil(), u64::MAX, at(0)).is_err());
    assert!(rewind(&hooks, one, Some(0)).is_err());
    let mut full = Webhooks::default();
    for nth in 0..MOST_WEBHOOKS as u128 {
        let events = create(&full, &new(nth), &reach).unwrap();
        fold(&mut full, 1, &events);
    }
    assert!(create(&full, &new(999), &reach).is_err());
}

#[test]
fn types_are_whole_or_beginnings_and_never_of_webhooks() {
    let mut wanted = spec("https://example.com/");
    assert!(wanted.wants("nexus.run.started.v1") && !wanted.wants("nexus.webhook.created.v1"));
    wanted.types = vec!["nexus.run.tool-*".into(), "nexus.session.opened.v1".into()];
    assert!(wanted.wants("nexus.run.tool-started.v1") && wanted.wants("nexus.session.opened.v1"));
    assert!(!wanted.wants("nexus.run.started.v1"));
    wanted.types = vec!["nexus.webhook.*".into()];
    assert!(!wanted.wants("nexus.webhook.disabled.v1"));
}

fn schedule() -> Schedule {
    Schedule {
        pauses_ms: vec![1_000, 10_000],
        disable_after_ms: 100_000,
        longest_ms: 20_000,
    }
}

fn free() -> BTreeSet<String> {
    BTreeSet::new()
}

#[test]
fn the_cursor_moves_past_what_was_taken_only() {
    let mut progress = Progress::default();
    progress.read("run/a", 5, Some(0));
    progress.read("run/b", 6, Some(1));
    progress.read("run/c", 7, None);
    progress.read("run/a", 8, Some(0));
    assert_eq!((progress.cursor(), progress.read_to), (4, 8));
    assert_eq!(progress.next(&free(), at(0)).as_deref(), Some("run/a"));
    let busy: BTreeSet<String> = ["run/a".to_owned()].into();
    assert_eq!(progress.next(&busy, at(0)).as_deref(), Some("run/b"));
    progress.taken("run/b", (7, 0), at(0));
    assert_eq!(progress.cursor(), 4);
    progress.taken("run/a", (6, 0), at(0));
    assert_eq!(progress.cursor(), 5, "something of 8 waits");
    progress.taken("run/a", (9, 0), at(0));
    assert_eq!((progress.cursor(), progress.lanes.len()), (8, 0));
    assert_eq!(progress.delivered, 3);
}

#[test]
fn one_lane_waits_while_others_go_on_and_is_given_up_in_the_end() {
    let mut progress = Progress::default();
    progress.read("run/a", 1, Some(0));
    progress.read("run/b", 2, Some(0));
    let schedule = schedule();
    let refused =
        |progress: &mut Progress, now| progress.refused("run/a", &schedule, (at(now), 0.5), None);
    assert_eq!(refused(&mut progress, 0), Verdict::Again);
    assert_eq!(progress.next(&free(), at(0)).as_deref(), Some("run/b"));
    assert_eq!(progress.lanes["run/a"].retry_at, Some(at(1)));
    progress.taken("run/b", (3, 0), at(1));
    assert_eq!(progress.wakes_at(&free()), Some(at(1)));
    assert_eq!(progress.next(&free(), at(1)).as_deref(), Some("run/a"));
    assert_eq!(refused(&mut progress, 1), Verdict::Again);
    assert_eq!(progress.lanes["run/a"].retry_at, Some(at(11)));
    assert_eq!(refused(&mut progress, 11), Verdict::GivenUp);
}

#[test]
fn a_receiver_that_takes_nothing_keeps_all_until_it_is_disabled() {
    let mut progress = Progress::default();
    for nth in 1..=6 {
        progress.read(&format!("run/{nth}"), nth, Some(0));
    }
    let schedule = schedule();
    for nth in 1..=5 {
        let lane = format!("run/{nth}");
        let verdict = progress.refused(&lane, &schedule, (at(0), 0.5), None);
        assert_eq!(verdict, Verdict::Again);
    }
    assert!(progress.is_failing());
    assert_eq!(progress.next(&free(), at(0)), None, "all wait");
    assert_eq!(progress.wakes_at(&free()), Some(at(1)));
    let probe = progress.next(&free(), at(1)).unwrap();
    let busy: BTreeSet<String> = [probe.clone()].into();
    assert_eq!(progress.next(&busy, at(1)), None, "one at a time");
    for now in [1, 11, 21, 31, 41] {
        let verdict = progress.refused(&probe, &schedule, (at(now), 0.5), None);
        assert_eq!(verdict, Verdict::Again, "{now}");
    }
    let mut gone = progress.clone();
    let verdict = gone.refused(&probe, &schedule, (at(100), 0.5), None);
    assert_eq!(verdict, Verdict::Disable);
    progress.taken("run/6", (7, 0), at(50));
    assert!(!progress.is_failing());
    assert_eq!(
        progress.next(&free(), at(50)).as_deref(),
        Some("run/1"),
        "nobody waits any more"
    );
}

#[test]
fn a_pause_that_is_asked_for_holds_for_all_and_is_bounded() {
    let mut progress = Progress::default();
    progress.read("run/a", 1, Some(0));
    progress.read("run/b", 2, Some(0));
    progress.refused("run/a", &schedule(), (at(0), 0.5), Some(u64::MAX));
    assert_eq!(progress.next(&free(), at(19)), None);
    assert!(progress.next(&free(), at(20)).is_some());
}

#[test]
fn a_change_ends_waiting_and_a_rewinding_one_begins_elsewhere() {
    let (mut hooks, one) = made();
    let mut progress = Progress::begin(&hooks.webhooks[&one]);
    assert_eq!(progress.read_to, 7);
    progress.read("run/a", 20, Some(0));
    progress.refused("run/a", &schedule(), (at(0), 0.5), Some(9_000));
    let events = rewind(&hooks, one, None).unwrap();
    fold(&mut hooks, 21, &events);
    progress.follow(&hooks.webhooks[&one]);
    assert_eq!(progress.next(&free(), at(0)).as_deref(), Some("run/a"));
    let events = rewind(&hooks, one, Some(3)).unwrap();
    fold(&mut hooks, 22, &events);
    progress.follow(&hooks.webhooks[&one]);
    assert_eq!((progress.read_to, progress.lanes.len()), (2, 0));
    progress.read("run/a", 20, Some(0));
    let before = progress.clone();
    progress.follow(&hooks.webhooks[&one]);
    assert_eq!(progress, before, "once");
}

proptest! {
    /// Whatever is refused and whenever whoever delivers dies and goes on from what it last wrote:
    /// each receiver hears each event at least once, and hears first of what comes first in its lane.
    #[test]
    fn nothing_is_lost_and_lanes_keep_their_order(
        log in prop::collection::vec(0u8..4, 1..40),
        steps in prop::collection::vec(0u8..10, 0..400),
    ) {
        let commits: Vec<(u64, String)> =
            (1..).zip(log.iter().map(|lane| format!("run/{lane}"))).collect();
        let (mut progress, mut kept) = (Progress::default(), Progress::default());
        let mut heard: Vec<u64> = vec![];
        let mut now = 0;
        let mut step = |progress: &mut Progress, kept: &mut Progress, kind: u8| {
            now += if kind == 9 { 30 } else { 1 };
            match kind {
                0 => *progress = kept.clone(),
                1..=3 => *kept = progress.clone(),
                4 | 5 => {
                    let next = usize::try_from(progress.read_to).unwrap();
                    if let Some((seq, lane)) = commits.get(next) {
                        progress.read(lane, *seq, (seq % 5 != 0).then_some(0));
                    }
                }
                _ => {
                    let Some(lane) = progress.next(&BTreeSet::new(), at(now)) else { return };
                    let from = progress.lanes[&lane].clone();
                    let wanted = |(seq, of): &&(u64, String)| {
                        *of == lane && *seq >= from.seq && *seq <= from.upto && seq % 5 != 0
                    };
                    let seq = commits.iter().find(wanted).map(|(seq, _)| *seq);
                    match seq {
                        None => progress.pass(&lane, (from.upto + 1, 0)),
                        Some(_) if kind == 6 => {
                            progress.refused(&lane, &schedule(), (at(now), 0.5), None);
                        }
                        Some(seq) => {
                            heard.push(seq);
                            progress.taken(&lane, (seq + 1, 0), at(now));
                        }
                    }
                }
            }
        };
        for kind in steps {
            step(&mut progress, &mut kept, kind);
            prop_assert!(progress.lanes.len() <= MOST_LANES);
        }
        for _ in 0..4 * commits.len() + 40 {
            step(&mut progress, &mut kept, 4);
            step(&mut progress, &mut kept, 9);
        }
        prop_assert_eq!(progress.cursor(), commits.len() as u64);
        for lane in 0..4 {
            let lane = format!("run/{lane}");
            let of_lane = |seq: &u64| commits[usize::try_from(*seq).unwrap() - 1].1 == lane;
            let wanted: Vec<u64> = (1..=commits.len() as u64)
                .filter(|seq| seq % 5 != 0 && of_lane(seq)).collect();
            let mut first: Vec<u64> = vec![];
            for seq in heard.iter().filter(|seq| of_lane(seq)) {
                if !first.contains(seq) {
                    first.push(*seq);
                }
            }
            prop_assert_eq!(first, wanted);
        }
    }
}
