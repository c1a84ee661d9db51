//! Waiting for a run's end: on its log subject, never by asking the database again and again.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use nexus_events::{AggregateId, AggregateKind, RunId, Tenant, subject};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::view::from_log;
use crate::app::App;
use crate::http::ApiError;
use crate::http::duration::Wait;
use crate::http::problem::internal;
use crate::stream::record;

/// Listens for a run's end from the moment it is made.
pub(crate) struct EndOf {
    app: App,
    tenant: Tenant,
    run: RunId,
    log: Subscriber,
    connects: watch::Receiver<u64>,
}

/// Checks `?wait=`.
pub(crate) fn checked(app: &App, wait: Option<Wait>) -> Result<Option<Duration>, ApiError> {
    let most = Duration::from_millis(app.config().max_wait_ms);
    match wait {
        Some(Wait(wait)) if wait > most => {
            let detail = format!("it may be {} s at most", most.as_secs());
            Err(ApiError::invalid("wait", detail))
        }
        wait => Ok(wait.map(|Wait(wait)| wait)),
    }
}

impl EndOf {
    /// Begins to listen. What is published or read on this connection afterwards comes after it.
    pub(crate) async fn listen(app: &App, tenant: &Tenant, run: RunId) -> Result<Self, ApiError> {
        let subject = subject::log(tenant, AggregateKind::Run, &AggregateId::from(run));
        let connects = app.connects();
        let log = app
            .bus()
            .client()
            .subscribe(subject)
            .await
            .map_err(|error| internal(&error))?;
        Ok(Self {
            app: app.clone(),
            tenant: tenant.clone(),
            run,
            log,
            connects,
        })
    }

    /// Waits for the end; gives the sequence of its commit, or none when time is up. `look`: it may
    /// have ended before this listened.
    pub(crate) async fn wait(
        mut self,
        deadline: Instant,
        look: bool,
    ) -> Result<Option<u64>, ApiError> {
        let mut look = look;
        loop {
            if std::mem::take(&mut look) {
                let (row, ended) = from_log(&self.app, &self.tenant, self.run).await?;
                if let Some(row) = row.filter(|_| ended) {
                    return Ok(Some(row.last_seq));
                }
            }
            let next = async {
                tokio::select! {
                    () = self.app.stopping().cancelled() => Next::Stopping,
                    message = self.log.next() => message.map_or(Next::Stopping, Next::Message),
                    changed = self.connects.changed() => {
                        if changed.is_ok() { Next::Reconnected } else { Next::Stopping }
                    }
                }
            };
            match timeout_at(deadline, next).await {
                Err(_) | Ok(Next::Stopping) => return Ok(None),
                Ok(Next::Reconnected) => look = true,
                Ok(Next::Message(message)) => {
                    if let Some(seq) = end_in(&message) {
                        return Ok(Some(seq));
                    }
                }
            }
        }
    }
}

enum Next {
    Message(async_nats::Message),
    Reconnected,
    Stopping,
}

/// The sequence of a commit that ends its run.
fn end_in(message: &async_nats::Message) -> Option<u64> {
    let seq = message
        .headers
        .as_ref()?
        .get("Nats-Sequence")?
        .as_str()
        .parse()
        .ok()?;
    let item = record::item(seq, message.payload.clone()).ok()?;
    item.terminal.then_some(seq)
}
