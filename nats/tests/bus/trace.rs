use nexus_bus::trace::{TraceParent, command_span, outgoing, set_parent};
use nexus_events::{Actor, CommandEnvelope};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{command_id, tenant};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn envelope() -> CommandEnvelope {
    CommandEnvelope {
        id: command_id("one"),
        tenant: tenant(),
        correlation: None,
        causation: None,
        traceparent: Some(GIVEN.to_owned()),
        actor: Actor::default(),
        reply_to: None,
        reply_confirmed: false,
    }
}

#[test]
fn without_an_exporter_a_span_hands_on_what_came_in() {
    let span = command_span(&envelope(), "run", "start");
    set_parent(&span, GIVEN.parse::<TraceParent>().unwrap());
    let out = span.in_scope(|| outgoing(Some(GIVEN)));
    assert_eq!(out.as_deref(), Some(GIVEN));
}

#[test]
fn with_an_exporter_what_goes_out_is_a_child_of_what_came_in() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let given: TraceParent = GIVEN.parse().unwrap();
    let out = tracing::subscriber::with_default(subscriber, || {
        command_span(&envelope(), "run", "start").in_scope(|| outgoing(Some(GIVEN)))
    });
    let out: TraceParent = out.unwrap().parse().unwrap();
    assert_eq!(out.trace_id, given.trace_id);
    assert_ne!(out.span_id, given.span_id);
}
