//! Figures, on demand: `cargo test -p nexus-bus --test bus measure -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use nexus_bus::{
    Bus, Delivery, Failure, Handler, ReadHint, RoleSpec, Store, append, read, topology,
};

use crate::support::{Stand, Sum, add, cancel, cause, send, sum_id, tenant, until};
use crate::worker::{Running, SPEC};

pub(crate) fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:?}, p99 {:?}", at(0.5), at(0.99))
}

async fn execute(store: &Store, id: &str, command: &str, hint: ReadHint) {
    store
        .execute::<Sum, _>(
            &tenant(),
            &sum_id(id),
            hint,
            &cause(command),
            add(1, u64::MAX),
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn store_figures() {
    let stand = Stand::new().await;
    let store = stand.store();
    let mut times = Vec::new();
    for n in 0..3000 {
        let started = Instant::now();
        execute(&store, "one", &format!("c{n}"), ReadHint::ABSENT).await;
        times.push(started.elapsed());
    }
    println!("execute, cached, one at a time: {}", percentiles(times));

    bare_writes(&stand.bus).await;
    let started = Instant::now();
    let store = &store;
    stream::iter(0..19_200u32)
        .for_each_concurrent(64, |n| async move {
            execute(store, &group(n), &format!("m{n}"), ReadHint::ABSENT).await;
        })
        .await;
    let rate = 19_200.0 / started.elapsed().as_secs_f64();
    println!("execute, 960 aggregates, 64 at once: {rate:.0}/s");

    let hint = first_hint(&stand.bus, "m7").await;
    let mut times = Vec::new();
    for _ in 0..300 {
        let (subject, from) = ("nexus.acme.evt.session.m7", hint.first_seq);
        let started = Instant::now();
        let page = read::read_from(&stand.bus, topology::EVENTS, subject, from, 256)
            .await
            .unwrap();
        times.push(started.elapsed());
        assert_eq!(page.messages.len(), 20);
    }
    println!("  for comparison, the read alone: {}", percentiles(times));
    for (what, hint) in [
        ("known first sequence", hint),
        ("searched", ReadHint::UNKNOWN),
    ] {
        let mut times = Vec::new();
        for n in 0..300 {
            let cold = Store::new(stand.bus.clone(), 10);
            let id = if what == "searched" {
                format!("m{n}")
            } else {
                "m7".to_owned()
            };
            let started = Instant::now();
            let loaded = cold
                .load::<Sum>(&tenant(), &sum_id(&id), hint)
                .await
                .unwrap();
            times.push(started.elapsed());
            assert_eq!(loaded.state.total, 20);
        }
        println!("cold load of 20 commits, {what}: {}", percentiles(times));
    }
    let mut times = Vec::new();
    for _ in 0..1000 {
        let started = Instant::now();
        let subject = "nexus.acme.evt.session.m7";
        read::next_decisive(&stand.bus, topology::EVENTS, subject, 30_000)
            .await
            .unwrap();
        times.push(started.elapsed());
    }
    println!("verify that nothing is new: {}", percentiles(times));
}

/// The same writes without a store, for comparison.
async fn bare_writes(bus: &Bus) {
    let body = vec![b'x'; 300];
    let write = |subject: String, id: String, after: u64| {
        let headers = async_nats::HeaderMap::new();
        let body = body.clone().into();
        async move {
            append(bus, &subject, &id, after, body, headers)
                .await
                .unwrap()
                .seq
        }
    };
    let mut times = Vec::new();
    let mut after = 0;
    for n in 0..3000 {
        let started = Instant::now();
        after = write("nexus.acme.evt.session.bare".into(), format!("b{n}"), after).await;
        times.push(started.elapsed());
    }
    println!("  for comparison, append alone: {}", percentiles(times));
    let started = Instant::now();
    let write = &write;
    stream::iter(0..20_000u32)
        .for_each_concurrent(64, |n| async move {
            write(
                format!("nexus.acme.evt.session.bare{n}"),
                format!("p{n}"),
                0,
            )
            .await;
        })
        .await;
    let rate = 20_000.0 / started.elapsed().as_secs_f64();
    println!("  for comparison, appends, 64 at once: {rate:.0}/s");
    let js = bus.jetstream();
    let body = &body;
    let started = Instant::now();
    stream::iter(0..20_000u32)
        .for_each_concurrent(64, |n| async move {
            let subject = format!("nexus.acme.evt.session.raw{n}");
            js.publish(subject, body.clone().into())
                .await
                .unwrap()
                .await
                .unwrap();
        })
        .await;
    let rate = 20_000.0 / started.elapsed().as_secs_f64();
    println!("  for comparison, the client's own publish without headers, 64 at once: {rate:.0}/s");
}

/// The aggregate of write `n`: 64 at a time get their 20 commits, so that these lie close together,
/// as a run's do.
fn group(n: u32) -> String {
    format!("m{}", n / 1280 * 64 + n % 64)
}

async fn first_hint(bus: &Bus, id: &str) -> ReadHint {
    let subject = format!("nexus.acme.evt.session.{id}");
    let first = read::next(bus, topology::EVENTS, &subject, 1)
        .await
        .unwrap()
        .unwrap();
    ReadHint::between(first.seq, 0)
}

struct Nothing(Arc<AtomicU64>);

impl Handler for Nothing {
    async fn handle(&self, _: Delivery) -> Result<(), Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn driver_figures() {
    const COMMANDS: u64 = 30_000;
    let stand = Stand::new().await;
    let bus = &stand.bus;
    let started = Instant::now();
    stream::iter(0..COMMANDS)
        .for_each_concurrent(256, |n| async move {
            send(bus, &format!("c{n}"), &cancel(u128::from(n))).await;
        })
        .await;
    let rate = COMMANDS as f64 / started.elapsed().as_secs_f64();
    println!("publish a command, 256 at once: {rate:.0}/s");
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let role = Running::start(bus, SPEC, Nothing(Arc::clone(&count)));
    until("all are handled", || async {
        count.load(Ordering::Relaxed) == COMMANDS
    })
    .await;
    let rate = COMMANDS as f64 / started.elapsed().as_secs_f64();
    println!("driver, handler that does nothing: {rate:.0}/s");

    let mut times = Vec::new();
    for n in 0..1000 {
        let before = count.load(Ordering::Relaxed);
        let started = Instant::now();
        send(bus, &format!("single{n}"), &cancel(n)).await;
        while count.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        times.push(started.elapsed());
    }
    println!("command to handler, one in flight: {}", percentiles(times));
    role.stop().await;
    let spec = RoleSpec {
        concurrency: 1,
        prefetch: 0,
        ..SPEC
    };
    for n in 0..2000 {
        send(bus, &format!("narrow{n}"), &cancel(n)).await;
    }
    let before = count.load(Ordering::Relaxed);
    let started = Instant::now();
    let role = Running::start(bus, spec, Nothing(Arc::clone(&count)));
    until("all are handled", || async {
        count.load(Ordering::Relaxed) == before + 2000
    })
    .await;
    let rate = 2000.0 / started.elapsed().as_secs_f64();
    println!("driver, one at a time without prefetch: {rate:.0}/s");
    role.stop().await;
}
