use nexus_bus::trace::{TraceParent, command_span, outgoing, set_parent};
use nexus_events::{Actor, CommandEnvelope};

use crate::support::{command_id, tenant};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn without_an_exporter_a_span_hands_on_what_came_in() {
    let envelope = CommandEnvelope {
        id: command_id("one"),
        tenant: tenant(),
        correlation: None,
        causation: None,
        traceparent: Some(GIVEN.to_owned()),
        actor: Actor::default(),
        reply_to: None,
    };
    let span = command_span(&envelope, "run", "start");
    set_parent(&span, GIVEN.parse::<TraceParent>().unwrap());
    let out = span.in_scope(|| outgoing(envelope.traceparent.as_deref()));
    assert_eq!(out.as_deref(), Some(GIVEN));
}
