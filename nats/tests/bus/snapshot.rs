//! Snapshots of long aggregates: what is loaded from one is what a fold of the whole log gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use futures_util::{FutureExt, StreamExt};
use nexus_bus::{Bus, ReadHint, Store, TopologyConfig, ensure, topology};
use nexus_events::aggregate::SnapshotSpec;
use nexus_events::{Aggregate, AggregateKind, Commit, Position, Timestamp, subject};
use serde_json::{Value, json};

use crate::measure::percentiles;
use crate::support::{Stand, Sum, SumEvent, cause, config, sum_id, tenant, until};

const EVERY: u64 = 10;
/// Of the saved state, so that it takes several chunks.
const BALLAST: usize = 1_200_000;

/// A sum that is kept every ten commits, as version `V`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kept<const V: u32>(pub(crate) Sum);

impl<const V: u32> Aggregate for Kept<V> {
    const KIND: AggregateKind = Sum::KIND;
    const SNAPSHOT: Option<SnapshotSpec> = Some(SnapshotSpec {
        version: V,
        every_commits: EVERY,
    });
    type Event = SumEvent;

    fn evolve(&mut self, event: &SumEvent, at: Position) {
        self.0.evolve(event, at);
    }

    fn save(&self) -> Option<Vec<u8>> {
        let Position { seq, index, time } = self.0.last;
        let mut bytes = json!([self.0.total, seq, index, time.as_millis()])
            .to_string()
            .into_bytes();
        bytes.resize(bytes.len() + BALLAST, b' ');
        Some(bytes)
    }

    fn restore(bytes: &[u8]) -> Option<Self> {
        let (total, seq, index, time) = serde_json::from_slice(bytes).ok()?;
        let time = Timestamp::from_millis(time);
        let last = Position { seq, index, time };
        Some(Self(Sum { total, last }))
    }
}

type Sums = Kept<1>;

async fn add<A: Aggregate<Event = SumEvent>>(
    store: &Store,
    id: &str,
    command: &str,
) -> (u64, bool) {
    let done = store
        .execute::<A, _>(
            &tenant(),
            &sum_id(id),
            ReadHint::UNKNOWN,
            &cause(command),
            |_| Ok(vec![SumEvent::Added { n: 1 }]),
        )
        .await
        .unwrap();
    (done.seq, done.fresh)
}

async fn add_some<A: Aggregate<Event = SumEvent>>(
    store: &Store,
    commands: std::ops::RangeInclusive<u64>,
) -> u64 {
    let mut last = 0;
    for n in commands {
        last = add::<A>(store, "a", &format!("c{n}")).await.0;
    }
    last
}

/// The slots of aggregate `a`: sequence that each covers, and whether it is whole.
async fn slots(bus: &Bus) -> Vec<(u64, bool)> {
    let stream = bus.jetstream().get_stream(topology::SNAPSHOTS).await;
    let stream = stream.unwrap();
    let mut slots = Vec::new();
    for slot in 0..2 {
        let head = subject::snapshot_head(&tenant(), AggregateKind::Session, &sum_id("a"), slot);
        if let Ok(head) = stream.get_last_raw_message_by_subject(&head).await {
            let head: Value = serde_json::from_slice(&head.payload).unwrap();
            slots.push((head["seq"].as_u64().unwrap(), head["whole"] == true));
        }
    }
    slots
}

async fn until_kept(bus: &Bus, seq: u64) {
    until("a snapshot is written", || async {
        slots(bus).await.contains(&(seq, true))
    })
    .await;
}

/// Makes 25 commits, with snapshots at 10 and 20.
async fn with_two_snapshots(stand: &Stand) -> Store {
    let store = stand.store();
    for round in 0..2 {
        let first = round * EVERY + 1;
        let last = add_some::<Sums>(&store, first..=first + EVERY - 1).await;
        until_kept(&stand.bus, last).await;
    }
    assert_eq!(slots(&stand.bus).await, [(10, true), (20, true)]);
    add_some::<Sums>(&store, 21..=25).await;
    store
}

/// Sees what is asked of a stream.
struct Asked(Subscriber);

impl Asked {
    async fn of(bus: &Bus, subject: &str) -> Self {
        let asked = bus.client().subscribe(subject.to_owned()).await.unwrap();
        // A round trip: the server knows of it.
        bus.jetstream().query_account().await.unwrap();
        Self(asked)
    }

    /// From which sequences the log was read meanwhile.
    async fn from(&mut self, bus: &Bus) -> Vec<u64> {
        bus.jetstream().query_account().await.unwrap();
        let mut from = Vec::new();
        while let Some(Some(request)) = self.0.next().now_or_never() {
            let query: Value = serde_json::from_slice(&request.payload).unwrap();
            from.push(query["seq"].as_u64().unwrap_or(0));
        }
        from
    }
}

/// Loads `a` in a new process, checks it against a fold of the whole log, and says from which
/// sequences the log was read.
async fn cold<const V: u32>(stand: &Stand) -> Vec<u64> {
    let bus = stand.other().await;
    let (store, id) = (Store::new(bus.clone(), 10), sum_id("a"));
    let mut asked = Asked::of(&bus, &format!("$JS.API.DIRECT.GET.{}", topology::EVENTS)).await;
    let hint = ReadHint::UNKNOWN;
    let kept = store.load::<Kept<V>>(&tenant(), &id, hint).await.unwrap();
    let from = asked.from(&bus).await;
    let whole = store.load::<Sum>(&tenant(), &id, hint).await.unwrap();
    assert_eq!(kept.state.0, whole.state);
    assert_eq!((kept.seq, kept.first_seq), (whole.seq, whole.first_seq));
    for n in 1..=25 {
        let command = cause(&format!("c{n}")).command_id;
        assert_eq!(kept.commit_of(&command), whole.commit_of(&command), "c{n}");
    }
    from
}

#[tokio::test]
async fn a_cold_load_reads_the_snapshot_and_what_followed_it() {
    let stand = Stand::new().await;
    let store = with_two_snapshots(&stand).await;
    assert_eq!(cold::<1>(&stand).await, [20, 21], "the check, and the tail");
    drop(store);

    let other = Store::new(stand.other().await, 10);
    for (command, seq) in [("c7", 7), ("c20", 20), ("c24", 24)] {
        let found = add::<Sums>(&other, "a", command).await;
        assert_eq!(found, (seq, false), "a command that comes again");
    }
    // Five commits were read after the snapshot, and five make ten.
    let last = add_some::<Sums>(&other, 26..=30).await;
    until_kept(&stand.bus, last).await;
    assert_eq!(slots(&stand.bus).await, [(30, true), (20, true)]);
    assert_eq!(cold::<1>(&stand).await, [30, 31]);
}

#[tokio::test]
async fn an_aggregate_that_is_not_kept_pays_nothing() {
    let stand = Stand::new().await;
    let mut asked = Asked::of(&stand.bus, "$JS.API.*.*.*.NEXUS_SNP").await;
    let mut direct = Asked::of(&stand.bus, "$JS.API.DIRECT.GET.NEXUS_SNP").await;
    let store = stand.store();
    for n in 0..3 * EVERY {
        add::<Sum>(&store, "a", &format!("c{n}")).await;
    }
    let (cold, id) = (Store::new(stand.bus.clone(), 10), sum_id("a"));
    let hint = ReadHint::UNKNOWN;
    let loaded = cold.load::<Sum>(&tenant(), &id, hint).await.unwrap();
    assert_eq!(loaded.state.total, 3 * EVERY);
    assert!(asked.from(&stand.bus).await.is_empty());
    assert!(direct.from(&stand.bus).await.is_empty());
    drop(cold.load::<Sums>(&tenant(), &id, hint).await.unwrap());
    assert_eq!(asked.from(&stand.bus).await.len(), 2, "one that is kept");
    assert!(slots(&stand.bus).await.is_empty());
}

#[tokio::test]
async fn what_is_broken_deleted_or_of_another_version_costs_only_time() {
    let stand = Stand::new().await;
    let store = with_two_snapshots(&stand).await;
    assert_eq!(cold::<2>(&stand).await, [1], "of another version");

    let break_chunk = async |slot: u8, index: u32| {
        let (kind, id) = (AggregateKind::Session, sum_id("a"));
        let chunk = subject::snapshot_part(&tenant(), kind, &id, slot, index);
        let js = stand.bus.jetstream();
        js.publish(chunk, "x".into()).await.unwrap().await.unwrap();
    };
    break_chunk(1, 2).await;
    assert_eq!(cold::<1>(&stand).await, [10, 11], "the one before it");
    break_chunk(0, 0).await;
    assert_eq!(cold::<1>(&stand).await, [1]);

    // The next one is written as ever.
    let last = add_some::<Sums>(&store, 26..=30).await;
    until_kept(&stand.bus, last).await;
    assert_eq!(cold::<1>(&stand).await, [30, 31]);

    let stream = stand.bus.jetstream().get_stream(topology::SNAPSHOTS).await;
    stream.unwrap().purge().await.unwrap();
    assert_eq!(cold::<1>(&stand).await, [1], "emptied");
    let deleted = stand.bus.jetstream().delete_stream(topology::SNAPSHOTS);
    deleted.await.unwrap();
    let load = tokio::time::timeout(Duration::from_secs(20), cold::<1>(&stand));
    assert_eq!(load.await.unwrap(), [1], "and not waited for");
    add_some::<Sums>(&store, 31..=45).await;
}

#[tokio::test]
async fn a_snapshot_that_is_ahead_of_the_log_is_ignored() {
    let stand = Stand::new().await;
    drop(with_two_snapshots(&stand).await);
    // As when the log was put back to an earlier state, from which it went another way.
    let js = stand.bus.jetstream();
    js.delete_stream(topology::EVENTS).await.unwrap();
    ensure(&stand.bus, &TopologyConfig::default())
        .await
        .unwrap();
    let store = Store::new(stand.other().await, 10);
    for n in 1..=5 {
        add::<Sum>(&store, "a", &format!("d{n}")).await;
    }
    assert_eq!(cold::<1>(&stand).await, [20, 10, 1]);
    for n in 6..=12 {
        add::<Sum>(&store, "a", &format!("d{n}")).await;
    }
    assert_eq!(cold::<1>(&stand).await, [20, 10, 1], "by another command");
    let again = Store::new(stand.other().await, 10);
    let (last, _) = add::<Sums>(&again, "a", "d13").await;
    until_kept(&stand.bus, last).await;
    assert_eq!(slots(&stand.bus).await, [(10, true), (13, true)]);
    assert_eq!(cold::<1>(&stand).await, [13, 14]);
}

#[tokio::test]
async fn a_writer_that_dies_in_the_middle_leaves_the_one_before_whole() {
    let stand = Stand::new().await;
    let store = with_two_snapshots(&stand).await;
    let head = subject::snapshot_head(&tenant(), AggregateKind::Session, &sum_id("a"), 0);
    let claim = json!({
        "format": 1, "version": 1, "seq": 25, "parts": 3, "digest": "", "whole": false, "claim": 0,
    });
    let js = stand.bus.jetstream();
    let published = js.publish(head, claim.to_string().into()).await.unwrap();
    published.await.unwrap();
    assert_eq!(cold::<1>(&stand).await, [20, 21]);
    // Another writer leaves it alone for a minute, and then does not.
    add_some::<Sums>(&store, 26..=35).await;
    let clock = Arc::new(|| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(61);
        Timestamp::from_millis(now.as_millis() as i64)
    });
    let later = Bus::open_with_clock(config(&stand.server.url()), clock).await;
    let later = Store::new(later.unwrap(), 10);
    add::<Sums>(&later, "a", "c36").await;
    until_kept(&stand.bus, 36).await;
    assert_eq!(slots(&stand.bus).await, [(36, true), (20, true)]);
    assert_eq!(cold::<1>(&stand).await, [36, 37]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_two_processes_lose_nothing_and_leave_a_snapshot_that_fits() {
    let stand = Stand::new().await;
    let stores = [stand.store(), Store::new(stand.other().await, 10)];
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..40 {
        let store = stores[writer % 2].clone();
        writers.spawn(async move {
            for n in 0..4 {
                add::<Sums>(&store, "a", &format!("w{writer}-{n}")).await;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    until("one is whole", || async {
        let slots = slots(&stand.bus).await;
        slots.iter().any(|(_, whole)| *whole)
    })
    .await;
    // The last one may still be on its way.
    let whole = |slots: Vec<(u64, bool)>| slots.into_iter().filter(|(_, whole)| *whole);
    let newest = whole(slots(&stand.bus).await).max().unwrap().0;
    let from = cold::<1>(&stand).await;
    assert!(
        from[0] >= newest && from == [from[0], from[0] + 1],
        "{from:?}"
    );
    let cold = Store::new(stand.other().await, 10);
    let hint = ReadHint::UNKNOWN;
    let loaded = cold.load::<Sums>(&tenant(), &sum_id("a"), hint).await;
    assert_eq!(loaded.unwrap().state.0.total, 160);
}

/// Appends commits to `a` without waiting for each: their sequences are known beforehand.
async fn fill(bus: &Bus, sequences: std::ops::RangeInclusive<u64>) {
    let subject = subject::events(&tenant(), AggregateKind::Session, &sum_id("a"));
    let js = bus.jetstream();
    let mut acks = std::collections::VecDeque::new();
    for seq in sequences {
        let causation = cause(&format!("c{seq}")).command_id;
        let commit = Commit {
            id: Commit::<SumEvent>::derive_id(&causation, AggregateKind::Session),
            causation,
            correlation: None,
            time: Timestamp::from_millis(1_700_000_000_000),
            traceparent: None,
            actor: None,
            events: vec![SumEvent::Added { n: 1 }],
        };
        let body = commit.encode("test", &subject).unwrap();
        let mut headers = async_nats::HeaderMap::new();
        let after = (seq - 1).to_string();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, after);
        let sent = js.publish_with_headers(subject.clone(), headers, body.into());
        acks.push_back(sent.await.unwrap());
        if acks.len() > 256 {
            acks.pop_front().unwrap().await.unwrap();
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// Loads `a` anew, and says how far it goes and how long it took.
async fn timed<A: Aggregate<Event = SumEvent>>(bus: &Bus) -> (u64, Duration) {
    let cold = Store::new(bus.clone(), 10);
    let started = Instant::now();
    let loaded = cold
        .load::<A>(&tenant(), &sum_id("a"), ReadHint::UNKNOWN)
        .await;
    (loaded.unwrap().seq, started.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn snapshot_figures() {
    const COMMITS: u64 = 200_000;
    let stand = Stand::new().await;
    fill(&stand.bus, 1..=COMMITS).await;
    let whole = timed::<Sum>(&stand.bus).await;
    println!("cold load of {COMMITS} commits: {:?}", whole.1);
    let store = stand.store();
    let last = add::<Sums>(&store, "a", "last").await.0;
    let started = Instant::now();
    until_kept(&stand.bus, last).await;
    println!("until a snapshot is written: {:?}", started.elapsed());
    let mut from = last + 1;
    for tail in [0, 100, 1000] {
        fill(&stand.bus, from..=last + tail).await;
        from = last + tail + 1;
        for _ in 0..3 {
            let (seq, took) = timed::<Sums>(&stand.bus).await;
            assert_eq!(seq, last + tail);
            println!("cold load from a snapshot and {tail} commits: {took:?}");
        }
    }
    for kept in [false, true] {
        let mut times = Vec::new();
        for n in 0..500 {
            let command = format!("{kept}{n}");
            let started = Instant::now();
            match kept {
                true => add::<Sums>(&store, "b", &command).await,
                false => add::<Sum>(&store, "c", &command).await,
            };
            times.push(started.elapsed());
        }
        println!(
            "execute, kept every {EVERY}: {kept}: {}",
            percentiles(times)
        );
    }
}
