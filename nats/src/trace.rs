//! W3C trace context on the bus. Without an exporter nothing is recorded and the caller's
//! `traceparent` is handed on as it came, so that a trace survives a platform that does not trace;
//! with one, every handled command is a span and what it causes carries that span.

use std::fmt;
use std::str::FromStr;

use nexus_events::CommandEnvelope;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::{Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// `00-<trace id>-<span id>-<flags>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace: 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// The parent span: 8 bytes, not all zero.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

/// Not a trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The same trace with another span as the parent.
    #[must_use]
    pub const fn child(self, span_id: [u8; 8]) -> Self {
        Self { span_id, ..self }
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(InvalidTraceParent);
        let (version, trace, span, flags) = (part()?, part()?, part()?, part()?);
        // A later version may append fields; version ff is forbidden, 00 has exactly four.
        let more = parts.next().is_some();
        if version.len() != 2 || version == "ff" || (version == "00" && more) {
            return Err(InvalidTraceParent);
        }
        let mut version_byte = [0; 1];
        read_hex(version, &mut version_byte)?;
        let (mut trace_id, mut span_id, mut flag) = ([0; 16], [0; 8], [0; 1]);
        read_hex(trace, &mut trace_id)?;
        read_hex(span, &mut span_id)?;
        read_hex(flags, &mut flag)?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(InvalidTraceParent);
        }
        Ok(Self {
            trace_id,
            span_id,
            flags: flag[0],
        })
    }
}

fn read_hex(text: &str, into: &mut [u8]) -> Result<(), InvalidTraceParent> {
    if text.bytes().any(|c| c.is_ascii_uppercase()) {
        return Err(InvalidTraceParent);
    }
    hex::decode_to_slice(text, into).map_err(|_| InvalidTraceParent)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace_id), hex::encode(self.span_id));
        write!(f, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

/// The span in which a command is handled, named `{role}.{verb}` to an exporter.
pub fn command_span(envelope: &CommandEnvelope, role: &str, verb: &str) -> Span {
    let span = info_span!(
        "command",
        otel.name = field::Empty,
        otel.kind = "consumer",
        tenant = %envelope.tenant,
        command = field::Empty,
        run.id = field::Empty,
        trace.id = field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let name = format!("{role}.{verb}");
    span.record("otel.name", &name).record("command", &name);
    if let Some(run) = envelope.correlation {
        span.record("run.id", field::display(run));
    }
    let parent = envelope
        .traceparent
        .as_deref()
        .and_then(|text| text.parse::<TraceParent>().ok());
    if let Some(parent) = parent {
        span.record("trace.id", hex::encode(parent.trace_id));
        set_parent(&span, parent);
    }
    span
}

/// Makes `span` a child of a span elsewhere, where an exporter is installed.
pub fn set_parent(span: &Span, parent: TraceParent) {
    let remote = SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        TraceFlags::new(parent.flags),
        true,
        TraceState::NONE,
    );
    // Refused only where no exporter is installed, and then there is nothing to be a child of.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
}

/// What goes out: the current span where an exporter records it, else what came in, unchanged.
pub fn outgoing(incoming: Option<&str>) -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let here = span.span_context();
    if here.is_valid() {
        let parent = TraceParent {
            trace_id: here.trace_id().to_bytes(),
            span_id: here.span_id().to_bytes(),
            flags: here.trace_flags().to_u8(),
        };
        return Some(parent.to_string());
    }
    incoming.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_back() {
        let parent: TraceParent = GIVEN.parse().unwrap();
        assert_eq!(parent.to_string(), GIVEN);
        let child = parent.child([1; 8]);
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(child.to_string().len(), GIVEN.len());
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let upper = GIVEN.to_uppercase();
        let (long, forbidden) = (format!("{GIVEN}-x"), GIVEN.replacen("00", "ff", 1));
        for bad in ["", "00", zero_trace, zero_span, &upper, &long, &forbidden] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
        assert!(
            format!("{GIVEN}-x")
                .replacen("00", "01", 1)
                .parse::<TraceParent>()
                .is_ok()
        );
    }

    #[test]
    fn without_an_exporter_the_incoming_context_is_handed_on() {
        assert_eq!(outgoing(Some(GIVEN)).as_deref(), Some(GIVEN));
        assert_eq!(outgoing(None), None);
    }
}
