use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use nexus_bus::{
    Bus, CommandMeta, Delivery, Failure, Handler, RoleSpec, publish_command, run_role, topology,
};
use nexus_events::{Command, DomainError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Stand, cancel, command_id, messages, send, signal, tenant, until};

pub(crate) const SPEC: RoleSpec = RoleSpec::new("run", &["run", "session"]);

/// Does what the signal's text says, and counts what it saw.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    pub(crate) seen: Arc<Mutex<HashMap<String, u64>>>,
    pub(crate) away: Arc<AtomicBool>,
}

impl Scripted {
    pub(crate) fn times(&self, id: &str) -> u64 {
        self.seen.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub(crate) fn commands(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Handler for Scripted {
    async fn handle(&self, delivery: Delivery) -> Result<(), Failure> {
        let id = delivery.envelope.id.to_string();
        let times = {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.entry(id).or_default();
            *times += 1;
            *times
        };
        let Command::SignalRun(signal) = &delivery.command else {
            return Ok(());
        };
        let soon = Some(Duration::from_millis(10));
        match signal.input.as_str() {
            "reject" => Err(DomainError::invalid("input", "no").into()),
            "flaky" if times < 3 => Err(Failure::Retry {
                after: soon,
                reason: "flaky".into(),
            }),
            "never" => Err(Failure::Retry {
                after: soon,
                reason: "it never works".into(),
            }),
            "dead" => Err(Failure::dead("beyond help")),
            "panic" if times < 2 => panic!("at the disco"),
            "away" if self.away.load(Ordering::SeqCst) => Err(Failure::Unavailable("db".into())),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A role that is running, and stops when asked.
pub(crate) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(bus: &Bus, spec: RoleSpec, handler: impl Handler) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run_role(bus.clone(), spec, handler, stop.clone()));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) async fn until_empty(bus: &Bus) {
    until("no command is left", || async {
        messages(bus, topology::COMMANDS).await == 0
    })
    .await;
}

#[tokio::test]
async fn commands_are_handled_once_and_gone() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    for n in 0..50 {
        send(&stand.bus, &format!("c{n}"), &cancel(n)).await;
    }
    send(&stand.bus, "c1", &cancel(1)).await;
    let role = Running::start(&stand.bus, SPEC, handler.clone());
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!(handler.commands(), 50);
    assert!(
        handler
            .seen
            .lock()
            .unwrap()
            .values()
            .all(|times| *times == 1)
    );
}

#[tokio::test]
async fn a_rejection_and_a_death_are_told_to_the_caller() {
    let stand = Stand::new().await;
    let role = Running::start(&stand.bus, SPEC, Scripted::default());
    for (text, code) in [("reject", "invalid"), ("dead", "command_failed")] {
        let inbox = stand.bus.client().new_inbox();
        let mut answers = stand.bus.client().subscribe(inbox.clone()).await.unwrap();
        let mut meta = CommandMeta::new(command_id(text), "test");
        meta.reply_to = Some(inbox);
        publish_command(&stand.bus, &tenant(), &signal(1, text), &meta)
            .await
            .unwrap();
        let answer = answers.next().await.unwrap();
        let problem: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(problem["code"], code);
    }
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 1);
}

#[tokio::test]
async fn failures_are_tried_again_and_given_up_at_last() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    let spec = RoleSpec {
        max_attempts: 4,
        ..SPEC
    };
    for text in ["flaky", "panic", "never"] {
        send(&stand.bus, text, &signal(1, text)).await;
    }
    let role = Running::start(&stand.bus, spec, handler.clone());
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!(
        [
            handler.times("flaky"),
            handler.times("panic"),
            handler.times("never")
        ],
        [3, 2, 4]
    );
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 1);
}

#[tokio::test]
async fn what_is_away_is_waited_for_without_counting() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    handler.away.store(true, Ordering::SeqCst);
    let spec = RoleSpec {
        max_attempts: 1,
        ..SPEC
    };
    send(&stand.bus, "away", &signal(1, "away")).await;
    let role = Running::start(&stand.bus, spec, handler.clone());
    until("it was tried", || async { handler.times("away") >= 3 }).await;
    handler.away.store(false, Ordering::SeqCst);
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!(messages(&stand.bus, topology::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn heartbeats_keep_long_work_from_being_given_to_another() {
    let stand = Stand::new().await;
    let spec = RoleSpec {
        ack_wait: Duration::from_millis(400),
        concurrency: 1,
        ..SPEC
    };
    let (first, second) = (Scripted::default(), Scripted::default());
    for id in ["slow-1", "slow-2"] {
        send(&stand.bus, id, &signal(1, "slow")).await;
    }
    let roles = [
        Running::start(&stand.bus, spec.clone(), first.clone()),
        Running::start(&stand.other().await, spec, second.clone()),
    ];
    until_empty(&stand.bus).await;
    for role in roles {
        role.stop().await;
    }
    for id in ["slow-1", "slow-2"] {
        assert_eq!(first.times(id) + second.times(id), 1, "{id}");
    }
}

#[tokio::test]
async fn a_stopping_role_finishes_what_it_has_begun_and_gives_the_rest_back() {
    let stand = Stand::new().await;
    let spec = RoleSpec {
        concurrency: 1,
        prefetch: 8,
        ..SPEC
    };
    let (first, second) = (Scripted::default(), Scripted::default());
    for n in 0..3 {
        send(&stand.bus, &format!("slow-{n}"), &signal(1, "slow")).await;
    }
    let role = Running::start(&stand.bus, spec.clone(), first.clone());
    until("one is begun", || async { first.commands() == 1 }).await;
    role.stop().await;
    assert_eq!(first.commands(), 1);
    let left = || async { messages(&stand.bus, topology::COMMANDS).await };
    until("the acknowledgement has arrived", || async {
        left().await == 2
    })
    .await;
    // Given back, not left to time out: the acknowledgement wait is 10 s.
    let spec = RoleSpec {
        concurrency: 8,
        ..spec
    };
    let role = Running::start(&stand.bus, spec, second.clone());
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!(second.commands(), 2);
}

#[tokio::test]
async fn any_client_can_send_a_command() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    let role = Running::start(&stand.bus, SPEC, handler.clone());
    let run = "0193e8a0-0000-7000-8000-000000000001";
    let js = stand.bus.jetstream();
    let plain = json!({ "run_id": run }).to_string();
    js.publish("nexus.acme.cmd.run.cancel", plain.into())
        .await
        .unwrap()
        .await
        .unwrap();
    let event = json!({
        "specversion": "1.0", "id": "structured-1", "source": "me", "type": "nexus.run.pause.v1",
        "data": { "run_id": run },
    });
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Content-Type", "application/cloudevents+json");
    let subject = "nexus.acme.cmd.run.pause";
    let published = js
        .publish_with_headers(subject, headers, event.to_string().into())
        .await;
    published.unwrap().await.unwrap();
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!((handler.commands(), handler.times("structured-1")), (2, 1));
}

#[tokio::test]
async fn a_consumer_that_vanishes_is_made_again() {
    let stand = Stand::new().await;
    let handler = Scripted::default();
    let role = Running::start(&stand.bus, SPEC, handler.clone());
    send(&stand.bus, "before", &cancel(1)).await;
    until_empty(&stand.bus).await;
    let stream = stand
        .bus
        .jetstream()
        .get_stream(topology::COMMANDS)
        .await
        .unwrap();
    stream
        .delete_consumer(&nexus_bus::consumer::name_of("run"))
        .await
        .unwrap();
    send(&stand.bus, "after", &cancel(2)).await;
    until_empty(&stand.bus).await;
    role.stop().await;
    assert_eq!((handler.times("before"), handler.times("after")), (1, 1));
}

#[tokio::test]
async fn an_operator_sees_the_queue() {
    let stand = Stand::new().await;
    for n in 0..3 {
        send(&stand.bus, &format!("c{n}"), &cancel(n)).await;
    }
    let roles: [(&str, &[&str]); 1] = [("run", &["run", "session"])];
    let sample = || nexus_bus::metrics::sample_queues(&stand.bus, &roles);
    let before = sample().await.unwrap();
    assert!(
        before[0].oldest.is_some(),
        "a role that never ran: {before:?}"
    );
    let role = Running::start(&stand.bus, SPEC, Scripted::default());
    until_empty(&stand.bus).await;
    role.stop().await;
    let after = sample().await.unwrap();
    assert_eq!(
        (after[0].waiting, after[0].in_work, after[0].oldest),
        (0, 0, None)
    );
    let text = nexus_bus::metrics::encoded();
    for line in [
        "nexus_commands_total{role=\"run\",command=\"run.cancel\",outcome=\"ok\"}",
        "# HELP nexus_command_handling_seconds",
        "nexus_queue_oldest_age_seconds{role=\"run\"}",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
