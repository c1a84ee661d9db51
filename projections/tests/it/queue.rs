//! Runs that wait for their turn, and runs that were rolled back, as the tables show them.

use nexus_events::run::{
    AgentRef, InQueue, PreviousRun, RunCancelled, RunDequeued, RunEvent, RunSignalled, RunStarted,
    RunTakenBack, SessionLink,
};
use nexus_events::{AggregateKind, RunId, SessionId, Tenant, Timestamp, subject};
use nexus_projections::query::{PageRequest, RunStatus};
use nexus_projections::{Progress, rebuild};

use crate::stack::{STREAM, Stack};
use crate::world::{actor, message};

fn run(name: &str) -> RunId {
    RunId::derive(&[name])
}

fn session() -> SessionId {
    run("first").own_session()
}

fn started(name: &str, queued: Option<u64>) -> RunEvent {
    RunStarted {
        given: None,
        invoke: None,
        run_id: run(name),
        session: SessionLink {
            id: session(),
            previous: None,
            budget: None,
            policy_context: None,
        },
        user: actor("ada"),
        agent: AgentRef {
            name: "default".into(),
            version: "1".into(),
        },
        model: "m".into(),
        tools: vec![],
        pins: Default::default(),
        input: format!("I am {name}").into(),
        budget: None,
        parent: None,
        prompt_tokens: None,
        queued: queued.map(|seq| InQueue { seq }),
        max_turns: 4,
        metadata: Default::default(),
        trace_id: None,
    }
    .into()
}

fn turn_after(name: &str) -> RunEvent {
    let previous = Some(PreviousRun {
        run_id: run(name),
        first_seq: 1,
        context_tokens: 5,
    });
    let awaited = false;
    RunDequeued { previous, awaited }.into()
}

fn signalled() -> RunEvent {
    let (input, tokens) = ("and then?".into(), None);
    RunSignalled { input, tokens }.into()
}

fn cancelled() -> RunEvent {
    RunCancelled { reason: None }.into()
}

struct Log<'a> {
    stack: &'a Stack,
    tenant: Tenant,
    number: u64,
}

impl Log<'_> {
    async fn add(&mut self, name: &str, events: Vec<RunEvent>) {
        self.number += 1;
        let subject = subject::events(&self.tenant, AggregateKind::Run, &run(name).into());
        let at = Timestamp::from_millis(1_795_353_377_328);
        let message = message(&subject, self.number, at, events, None);
        let seq = self.stack.publish(&[message]).await;
        self.stack.applied(seq).await;
    }

    /// Status, place and previous run.
    async fn row(&self, name: &str) -> (RunStatus, Option<u64>, Option<RunId>) {
        let db = &self.stack.projections;
        let row = db.run(&self.tenant, run(name)).await.unwrap().unwrap();
        (row.status, row.queue_position, row.previous_run_id)
    }

    async fn said(&self, rolled_back: bool) -> Vec<String> {
        let (db, page) = (&self.stack.projections, PageRequest::default());
        let said = db.messages(&self.tenant, session(), rolled_back, &page);
        let said = said.await.unwrap().items.into_iter();
        said.map(|message| message.content).collect()
    }
}

#[tokio::test]
async fn who_waits_has_a_place_and_says_nothing_before_his_turn() {
    let stack = Stack::start().await;
    let running = stack.projector();
    let mut log = Log {
        stack: &stack,
        tenant: "acme".parse().unwrap(),
        number: 0,
    };
    log.add("first", vec![started("first", None)]).await;
    log.add("second", vec![started("second", Some(7))]).await;
    // It came before the one whose row is older.
    log.add("third", vec![started("third", Some(6))]).await;
    log.add("gives up", vec![started("gives up", Some(8))])
        .await;
    assert_eq!(log.row("second").await, (RunStatus::Queued, Some(2), None));
    assert_eq!(log.row("third").await, (RunStatus::Queued, Some(1), None));
    assert_eq!(log.said(true).await, ["I am first"]);

    log.add("gives up", vec![cancelled()]).await;
    log.add("first", vec![signalled(), cancelled()]).await;
    log.add("third", vec![turn_after("first")]).await;
    let third = (RunStatus::Pending, None, Some(run("first")));
    assert_eq!(log.row("third").await, third);
    assert_eq!(log.row("second").await, (RunStatus::Queued, Some(1), None));
    let said = ["I am first", "and then?", "I am third"];
    assert_eq!(log.said(false).await, said);

    // Another takes the place of the third.
    let back = RunTakenBack { by: run("second") };
    log.add("third", vec![back.into(), cancelled()]).await;
    log.add("second", vec![turn_after("first")]).await;
    let kept = ["I am first", "and then?", "I am second"];
    let all = ["I am first", "and then?", "I am third", "I am second"];
    assert_eq!(log.said(false).await, kept);
    assert_eq!(log.said(true).await, all);

    stack.assert_equal().await;
    // Read in one go, it is the same.
    let (db, js) = (&stack.projections, stack.js.clone());
    rebuild(db, js, STREAM, &mut |_: Progress| {})
        .await
        .unwrap();
    assert_eq!(
        (log.said(false).await, log.said(true).await.len()),
        (kept.map(str::to_owned).to_vec(), 4)
    );
    let second = (RunStatus::Pending, None, Some(run("first")));
    assert_eq!(log.row("second").await, second);
    running.stop().await;
}
