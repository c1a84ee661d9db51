//! A client of this protocol that goes away will never ask for its answer again: its run is
//! cancelled, and what was generated is settled. One that sent an `Idempotency-Key` can, by sending
//! the same request again: its run goes on.

use nexus_events::RunId;
use nexus_events::command::{CancelRun, ControlRun};

use crate::app::App;
use crate::commands::{Order, RunDone, send};
use crate::http::trace::Trace;
use crate::identity::Caller;

/// Cancels a run when it is dropped, unless the run has ended.
pub(crate) struct Abandon(Option<Parts>);

struct Parts {
    app: App,
    caller: Caller,
    trace: Trace,
    run: RunId,
}

impl Abandon {
    /// For a run that nobody else waits for.
    pub(crate) fn new(app: &App, caller: &Caller, trace: Trace, run: RunId) -> Self {
        Self(Some(Parts {
            app: app.clone(),
            caller: caller.clone(),
            trace,
            run,
        }))
    }

    /// Whether the run ends with it.
    pub(crate) fn is_armed(&self) -> bool {
        self.0.is_some()
    }

    /// Cancels the run now, unless it goes on without its client.
    pub(crate) fn fire(&mut self) {
        drop(Self(self.0.take()));
    }

    /// The run has ended, or goes on without its client.
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let (Some(parts), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(cancel(parts));
    }
}

async fn cancel(parts: Parts) {
    let reason = Some("the client did not wait for the answer".to_owned());
    let command = CancelRun(ControlRun {
        run_id: parts.run,
        reason,
    });
    let order = Order {
        caller: &parts.caller,
        trace: parts.trace,
        command: command.into(),
        run: Some(parts.run),
        key: None,
    };
    // A run that has ended meanwhile refuses, and that is as good.
    if let Err(error) = send::<RunDone>(&parts.app, order).await {
        tracing::debug!(run = %parts.run, ?error, "an abandoned run was not cancelled");
    }
}
