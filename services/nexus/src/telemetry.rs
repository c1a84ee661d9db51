//! Logs, readable on a terminal and JSON otherwise, and traces by OTLP when an endpoint is
//! configured. Without one no OpenTelemetry layer is installed, and a span costs next to nothing.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, TelemetryConfig};

/// Keeps the exporter; what it holds is sent when this is shut down.
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends what is still held.
    pub(crate) fn shut_down(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last spans were not exported: {error}");
        }
    }
}

/// Installs the subscriber. Call it once, inside the runtime.
///
/// # Errors
/// The OTLP endpoint cannot be used.
pub(crate) fn install(config: &TelemetryConfig) -> Result<Telemetry, ExporterBuildError> {
    let directives = config
        .log
        .clone()
        .unwrap_or_else(|| "info,async_nats=warn,sqlx=warn".into());
    // These libraries log what a provider or a server of tools sent: other people's words.
    let filter = format!("{directives},async_openai=off,rmcp=off");
    let filter = EnvFilter::builder().parse_lossy(filter);
    let terminal = std::io::stderr().is_terminal();
    let format = config.log_format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .boxed(),
    };
    let provider = exporter(config)?;
    let spans = provider.as_ref().map(|provider| {
        // Spans are exported whatever the log shows.
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("nexus"))
            .with_filter(EnvFilter::new("info"))
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(filter))
        .init();
    Ok(Telemetry(provider))
}

fn exporter(config: &TelemetryConfig) -> Result<Option<SdkTracerProvider>, ExporterBuildError> {
    let set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let by_environment =
        set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let mut builder = SpanExporter::builder().with_tonic();
    match &config.otlp_endpoint {
        Some(endpoint) => builder = builder.with_endpoint(endpoint),
        None if by_environment => {}
        None => return Ok(None),
    }
    let resource = Resource::builder().with_service_name("nexus").build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(builder.build()?)
        .with_resource(resource)
        .build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok(Some(provider))
}
