use async_nats::HeaderMap;
use nexus_bus::{AppendError, Bus, append, read, topology};

use crate::proxy::Proxy;
use crate::support::{Stand, config, messages, until};

const SUBJECT: &str = "nexus.acme.evt.session.a";

async fn write(bus: &Bus, id: &str, after: u64) -> Result<nexus_bus::Appended, AppendError> {
    append(
        bus,
        SUBJECT,
        id,
        after,
        id.to_owned().into(),
        HeaderMap::new(),
    )
    .await
}

#[tokio::test]
async fn the_second_of_two_writers_meets_a_conflict() {
    let stand = Stand::new().await;
    let first = write(&stand.bus, "one", 0).await.unwrap();
    assert!(!first.found);
    let conflict = write(&stand.bus, "two", 0).await.unwrap_err();
    assert!(
        matches!(conflict, AppendError::Conflict { expected: 0, .. }),
        "{conflict}"
    );
    write(&stand.bus, "two", first.seq).await.unwrap();
    assert_eq!(messages(&stand.bus, topology::EVENTS).await, 2);
}

#[tokio::test]
async fn writing_again_finds_what_was_written_even_when_others_wrote_since() {
    let stand = Stand::new().await;
    let first = write(&stand.bus, "one", 0).await.unwrap();
    write(&stand.bus, "two", first.seq).await.unwrap();
    let again = write(&stand.bus, "one", 0).await.unwrap();
    assert_eq!((again.seq, again.found), (first.seq, true));
    assert_eq!(messages(&stand.bus, topology::EVENTS).await, 2);
}

#[tokio::test]
async fn a_lost_acknowledgement_is_one_commit() {
    let stand = Stand::new().await;
    let proxy = Proxy::to(stand.server.nats.port()).await;
    let bus = Bus::connect(config(&proxy.url)).await.unwrap();
    proxy.mute();
    let writing = tokio::spawn({
        let bus = bus.clone();
        async move { write(&bus, "one", 0).await }
    });
    until("the server has it", || async {
        messages(&stand.bus, topology::EVENTS).await == 1
    })
    .await;
    assert!(!writing.is_finished(), "the acknowledgement is lost");
    proxy.cut();
    let appended = writing.await.unwrap().unwrap();
    assert_eq!((appended.seq, appended.found), (1, true));
    assert_eq!(messages(&stand.bus, topology::EVENTS).await, 1);
}

#[tokio::test]
async fn what_is_larger_than_a_message_is_refused_with_words() {
    let stand = Stand::new().await;
    let body = vec![b'x'; stand.bus.client().max_payload() + 1];
    let refused = append(&stand.bus, SUBJECT, "big", 0, body.into(), HeaderMap::new()).await;
    assert!(
        matches!(refused, Err(AppendError::TooLarge { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn reads_come_in_pages() {
    let stand = Stand::new().await;
    let mut after = 0;
    for n in 0..10 {
        let other = format!("nexus.acme.evt.session.b{n}");
        append(&stand.bus, &other, &other, 0, "x".into(), HeaderMap::new())
            .await
            .unwrap();
        after = write(&stand.bus, &n.to_string(), after).await.unwrap().seq;
    }
    let page = |from, limit| read::read_from(&stand.bus, topology::EVENTS, SUBJECT, from, limit);
    let first = page(0, 4).await.unwrap();
    assert_eq!((first.messages.len(), first.pending), (4, 6));
    let rest = page(first.messages[3].seq + 1, 100).await.unwrap();
    assert_eq!((rest.messages.len(), rest.pending), (6, 0));
    assert_eq!(rest.messages[5].message_id(), Some("9"));
    assert!(page(after + 1, 100).await.unwrap().messages.is_empty());
    let last = read::last(&stand.bus, topology::EVENTS, SUBJECT)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(last.seq, after);
    let next = read::next(&stand.bus, topology::EVENTS, SUBJECT, after + 1)
        .await
        .unwrap();
    assert!(next.is_none());
}
