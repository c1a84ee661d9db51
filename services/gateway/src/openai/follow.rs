//! Follows one run from the moment it is made, as events and fragments. What puts history and the
//! live stream together is [`Merge`], as for event streams; here nothing is encoded for a reader.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use nexus_events::Body;
use nexus_events::aggregate::Event;
use nexus_events::run::RunEvent;
use nexus_events::{RunId, Tenant, Timestamp};
use serde::Deserialize;

use super::chunks::Live;
use crate::app::App;
use crate::http::ApiError;
use crate::http::problem::internal;
use crate::stream::history::{self, subject_of};
use crate::stream::merge::{Input, Merge, Output};
use crate::stream::record;
use crate::stream::subscribed::{Subscribed, next_delta};

/// An event of a run; texts are inline.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) at: Timestamp,
    pub(crate) event: RunEvent,
}

/// What is heard of a run.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A commit, as far as an answer is made of it; texts are inline.
    Events(Vec<Happened>),
    /// A fragment of an answer.
    Live(Live),
    /// The run has ended, and all of it was given.
    End,
    /// The gateway stops.
    Stopping,
}

/// Follows a run.
pub(crate) struct Follow {
    app: App,
    tenant: Tenant,
    subject: String,
    subscribed: Subscribed,
    merge: Merge<Bytes, Bytes>,
    outputs: VecDeque<Output<Bytes, Bytes>>,
    /// Where history is to be read next.
    next: Option<u64>,
    /// Types of events that are told.
    matters: fn(&str) -> bool,
}

impl Follow {
    /// Begins to listen. What is published or read on this connection afterwards comes after it.
    pub(crate) async fn open(
        app: &App,
        tenant: &Tenant,
        run: RunId,
        live: bool,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            app: app.clone(),
            tenant: tenant.clone(),
            subject: subject_of(tenant, run),
            subscribed: Subscribed::to(app, tenant, run, live).await?,
            merge: Merge::after(0, false),
            outputs: VecDeque::new(),
            next: None,
            matters,
        })
    }

    /// Tells events of other types than those that an answer is made of.
    pub(crate) fn telling(self, matters: fn(&str) -> bool) -> Self {
        Self { matters, ..self }
    }

    /// The run is made. `from`: where its history is to be read, for it may have begun before.
    pub(crate) fn begin(&mut self, from: Option<u64>) {
        match from {
            Some(from) => self.next = Some(from),
            None => self.feed(Input::HistoryEnd),
        }
    }

    /// What comes next. Whoever gives up waiting loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Heard, ApiError> {
        loop {
            if let Some(heard) = self.ready().await? {
                return Ok(heard);
            }
            if let Some(from) = self.next {
                self.read(from).await?;
                continue;
            }
            let input = tokio::select! {
                biased;
                () = self.app.leaving().cancelled() => return Ok(Heard::Stopping),
                // Fragments before commits: what both have waiting was said before it was recorded.
                live = next_delta(&mut self.subscribed.live) => match live {
                    Some(message) => delta(message.payload),
                    None => return Ok(Heard::Stopping),
                },
                commit = self.subscribed.log.next() => match commit {
                    Some(message) => committed(message)?,
                    None => return Ok(Heard::Stopping),
                },
                changed = self.subscribed.connects.changed() => match changed {
                    Ok(()) => Some(Input::Interrupted),
                    Err(_) => return Ok(Heard::Stopping),
                },
            };
            if let Some(input) = input {
                self.feed(input);
            }
        }
    }

    /// Looks at the log again, in case something was missed without a sign.
    pub(crate) fn look_again(&mut self) {
        self.feed(Input::Interrupted);
    }

    fn feed(&mut self, input: Input<Bytes, Bytes>) {
        let mut outputs = vec![];
        self.merge.on(input, &mut outputs);
        self.outputs.extend(outputs);
    }

    async fn read(&mut self, from: u64) -> Result<(), ApiError> {
        let reading = history::page(self.app.bus(), &self.subject, from);
        let page = self.app.in_time(reading).await?;
        self.next = page.next;
        for stored in page.commits {
            let item = record::item(stored.seq, stored.body).map_err(|error| internal(&error))?;
            self.feed(Input::History(item));
        }
        if self.next.is_none() {
            self.feed(Input::HistoryEnd);
        }
        Ok(())
    }

    /// The next of what the machine gave out, if it is something to be told.
    async fn ready(&mut self) -> Result<Option<Heard>, ApiError> {
        loop {
            let heard = match self.outputs.front() {
                None => return Ok(None),
                Some(Output::Read { from }) => {
                    self.next = Some(*from);
                    None
                }
                Some(Output::End) => Some(Heard::End),
                Some(Output::Delta(body)) => serde_json::from_slice(body).ok().map(Heard::Live),
                Some(Output::Commit(item)) => {
                    let events =
                        told(&self.app, &self.tenant, item.seq, &item.body, self.matters).await?;
                    Some(Heard::Events(events))
                }
            };
            self.outputs.pop_front();
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }
}

/// What of a commit an answer is made of.
pub(crate) async fn happened(
    app: &App,
    tenant: &Tenant,
    seq: u64,
    body: &[u8],
) -> Result<Vec<Happened>, ApiError> {
    told(app, tenant, seq, body, matters).await
}

/// What of a commit is of these types.
async fn told(
    app: &App,
    tenant: &Tenant,
    seq: u64,
    body: &[u8],
    matters: fn(&str) -> bool,
) -> Result<Vec<Happened>, ApiError> {
    let mut events = vec![];
    for record in record::events(seq, body).map_err(|error| internal(&error))? {
        if !matters(&record.type_name) {
            continue;
        }
        let event = RunEvent::decode(&record.type_name, &record.data);
        let mut event = event.map_err(|error| internal(&error))?;
        if let Some(text) = text_of(&mut event) {
            let whole = app.objects().resolve(tenant, text).await;
            *text = whole.map_err(|error| internal(&error))?.into();
        }
        let at = record.time;
        events.push(Happened { at, event });
    }
    Ok(events)
}

/// The text of an event that an answer needs.
fn text_of(event: &mut RunEvent) -> Option<&mut Body> {
    match event {
        RunEvent::LlmCompleted(done) => Some(&mut done.text),
        RunEvent::RunStarted(started) => started.given.as_mut()?.client_tool_specs.as_mut(),
        RunEvent::ToolCompleted(done) => Some(&mut done.output),
        RunEvent::ToolResolved(word) => word.output.as_mut(),
        _ => None,
    }
}

/// Whether an answer is made of events of this type.
fn matters(type_name: &str) -> bool {
    matches!(
        type_name,
        "nexus.run.started.v1"
            | "nexus.run.dequeued.v1"
            | "nexus.run.llm-completed.v1"
            | "nexus.run.llm-failed.v1"
            | "nexus.run.llm-aborted.v1"
            | "nexus.run.context-summarised.v1"
            | "nexus.run.texts-embedded.v1"
            | "nexus.run.completed.v1"
            | "nexus.run.failed.v1"
            | "nexus.run.cancelled.v1"
    )
}

fn delta(body: Bytes) -> Option<Input<Bytes, Bytes>> {
    #[derive(Deserialize)]
    struct OfTurn {
        turn: u32,
    }
    // Whoever may publish for the tenant may publish nonsense here.
    let OfTurn { turn } = serde_json::from_slice(&body).ok()?;
    let bytes = body.len();
    Some(Input::Delta { turn, bytes, body })
}

fn committed(message: async_nats::Message) -> Result<Option<Input<Bytes, Bytes>>, ApiError> {
    let number =
        |name: &str| -> Option<u64> { message.headers.as_ref()?.get(name)?.as_str().parse().ok() };
    // Without a place it was not the stream that published it.
    let (Some(seq), Some(previous)) = (number("Nats-Sequence"), number("Nats-Last-Sequence"))
    else {
        return Ok(None);
    };
    let item = record::item(seq, message.payload).map_err(|error| internal(&error))?;
    Ok(Some(Input::Live { item, previous }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_exists() {
        let known = RunEvent::type_names().iter();
        assert_eq!(known.filter(|name| matters(name)).count(), 10);
    }
}
