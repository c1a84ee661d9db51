//! Following a run's events: a stream that survives the gateway. It is resumed after the last whole
//! event, so that a restart of the gateway loses no fact; fragments that went by meanwhile are in
//! the recorded answer.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::error::CliError;
use super::http::{Gateway, Request};
use super::sse::{SseEvent, SseParser};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The last event of a stream that ends before its run: the gateway says why.
const CLOSED: &str = "closed";

/// A run's events, as they come.
pub(crate) struct Follow<'a> {
    gateway: &'a Gateway,
    run_id: String,
    patience: Duration,
    /// The run was accepted a moment ago: a gateway may not know it yet.
    fresh: bool,
    last_id: Option<String>,
    open: Option<(Response, SseParser)>,
    ready: VecDeque<SseEvent>,
    /// When it broke, until something comes again.
    broken_since: Option<Instant>,
    pause: Duration,
}

/// What following gives.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An event.
    Event(SseEvent),
    /// The stream broke and is being opened again.
    Broken(String),
}

impl<'a> Follow<'a> {
    /// Follows `run_id` from its beginning; a platform that is away is waited for as long as
    /// `patience`, and so is a run that was accepted a moment ago (`fresh`) and has not begun.
    pub(crate) fn new(gateway: &'a Gateway, run_id: &str, patience: Duration, fresh: bool) -> Self {
        Self {
            gateway,
            run_id: run_id.to_owned(),
            patience,
            fresh,
            last_id: None,
            open: None,
            ready: VecDeque::new(),
            broken_since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// What comes next. Dropping the future and asking again loses nothing.
    ///
    /// # Errors
    /// The platform says no, or is away for too long.
    pub(crate) async fn next(&mut self) -> Result<Heard, CliError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.fresh = false;
                if event.event == CLOSED {
                    self.open = None;
                    self.broken_since = Some(Instant::now());
                    return Ok(Heard::Broken(why_closed(&event.data)));
                }
                if event.id.is_some() {
                    self.last_id.clone_from(&event.id);
                }
                return Ok(Heard::Event(event));
            }
            let Some((response, parser)) = &mut self.open else {
                self.open().await?;
                continue;
            };
            let broken = match response.chunk().await {
                Ok(Some(chunk)) => match parser.push(&chunk) {
                    Ok(events) => {
                        self.ready.extend(events);
                        self.broken_since = None;
                        self.pause = FIRST_PAUSE;
                        continue;
                    }
                    Err(error) => return Err(self.gateway.unreadable(&error.to_string())),
                },
                Err(error) => self.gateway.unreachable(&error).to_string(),
                Ok(None) => "the stream ended before the run did".to_owned(),
            };
            self.open = None;
            if self.broken_since.is_none() {
                self.broken_since = Some(Instant::now());
                return Ok(Heard::Broken(broken));
            }
        }
    }

    async fn open(&mut self) -> Result<(), CliError> {
        if self.broken_since.is_some() {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        let path = ["v1", "runs", &self.run_id, "events"];
        let headers: Vec<_> = self
            .last_id
            .clone()
            .map(|id| ("last-event-id", id))
            .into_iter()
            .collect();
        let request = Request {
            path: &path,
            headers: &headers,
            ..Request::default()
        };
        match self.gateway.stream(request).await {
            Ok(response) => {
                self.open = Some((response, SseParser::default()));
                Ok(())
            }
            Err(error) if may_pass(&error) || self.is_too_early(&error) => {
                self.wait_or_give_up(error)
            }
            Err(error) => Err(error),
        }
    }

    fn is_too_early(&self, error: &CliError) -> bool {
        self.fresh && matches!(error, CliError::Problem(problem) if problem.status == 404)
    }

    fn wait_or_give_up(&mut self, error: CliError) -> Result<(), CliError> {
        let waited = self.broken_since.get_or_insert_with(Instant::now).elapsed();
        if waited < self.patience {
            return Ok(());
        }
        if !may_pass(&error) {
            return Err(error);
        }
        Err(CliError::Lost {
            url: self.gateway.url().to_owned(),
            waited_s: waited.as_secs(),
            reason: error.to_string(),
        })
    }
}

fn why_closed(data: &str) -> String {
    #[derive(Deserialize)]
    struct Closed {
        detail: String,
    }
    let said = serde_json::from_str::<Closed>(data);
    let said = said.map_or_else(
        |_| "the gateway ended the stream".to_owned(),
        |said| said.detail,
    );
    // What follows is advice for whoever wrote the client, and taken here.
    said.split("; ").next().unwrap_or_default().to_owned()
}

/// Whether trying again can help.
pub(crate) fn may_pass(error: &CliError) -> bool {
    match error {
        CliError::Unreachable { .. } => true,
        CliError::Problem(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
    use serde_json::json;

    use super::super::testing::{self, Scripted, cut_stream};
    use super::*;

    async fn event(follow: &mut Follow<'_>) -> String {
        match follow.next().await.unwrap() {
            Heard::Event(event) => event.data,
            Heard::Broken(why) => panic!("{why}"),
        }
    }

    async fn broken(follow: &mut Follow<'_>) -> String {
        match follow.next().await.unwrap() {
            Heard::Broken(why) => why,
            Heard::Event(event) => panic!("{event:?}"),
        }
    }

    #[tokio::test]
    async fn a_cut_stream_goes_on_after_the_last_whole_event() {
        let away = testing::json(
            "503 Service Unavailable",
            &json!({
                "code": "bus_away", "title": "", "status": 503, "detail": "the bus is away"
            }),
        );
        let first = "id: 6.0\ndata: a\n\nevent: delta\ndata: d\n\nid: 6\ndata: half";
        let scripted = Scripted::start(vec![
            cut_stream(first),
            away,
            cut_stream("id: 7\ndata: b\n\n"),
        ])
        .await;
        let mut follow = Follow::new(&scripted.gateway, "r", Duration::from_secs(60), false);
        assert_eq!(event(&mut follow).await, "a");
        assert_eq!(event(&mut follow).await, "d");
        broken(&mut follow).await;
        assert_eq!(event(&mut follow).await, "b");
        let asked = scripted.asked();
        assert!(!asked[0].contains("last-event-id"), "{}", asked[0]);
        assert!(
            asked[1..]
                .iter()
                .all(|asked| asked.contains("last-event-id: 6.0")),
            "{asked:?}"
        );
        assert!(
            asked
                .iter()
                .all(|asked| asked.contains("nexus-tenant: acme"))
        );
    }

    #[tokio::test]
    async fn a_gateway_that_stops_says_so_and_one_that_stays_away_is_given_up() {
        let closed = "event: closed\ndata: {\"reason\":\"stopping\",\"detail\":\"it stops; connect again\"}\n\n";
        let scripted = Scripted::start(vec![cut_stream(closed)]).await;
        let mut follow = Follow::new(&scripted.gateway, "r", Duration::ZERO, false);
        assert_eq!(broken(&mut follow).await, "it stops");
        assert!(matches!(follow.next().await, Err(CliError::Lost { .. })));
    }

    #[tokio::test]
    async fn a_run_that_was_just_accepted_may_not_be_known_yet() {
        let missing = || {
            testing::json(
                "404 Not Found",
                &json!({
                    "code": "not_found", "title": "", "status": 404, "detail": "run r does not exist"
                }),
            )
        };
        let answers = vec![missing(), cut_stream("id: 1\ndata: a\n\n"), missing()];
        let scripted = Scripted::start(answers).await;
        let mut follow = Follow::new(&scripted.gateway, "r", Duration::from_secs(60), true);
        assert_eq!(event(&mut follow).await, "a");
        broken(&mut follow).await;
        let error = follow.next().await.unwrap_err();
        assert!(
            matches!(error, CliError::Problem(_)),
            "once it was known it does not vanish"
        );
    }
}
