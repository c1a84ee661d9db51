//! Pulling from a durable consumer: exactly as many messages as there is room for. The client's
//! own message stream asks for fixed batches ahead; with slow handlers that takes commands away
//! from idle processes, and with small batches it stalls. Here a request asks for the room that is
//! there, and a new connection or a vanished consumer starts over.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::connect::{Bus, Link};
use crate::consumer::{ConsumerSpec, ensure_consumer};
use crate::read::status_code;

const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// With no request open and little room, wait this long for more room, so that a busy role asks for
/// several at once instead of one at a time.
const LINGER: Duration = Duration::from_millis(1);

/// Messages of one consumer.
pub(crate) struct Puller {
    bus: Bus,
    consumer: ConsumerSpec,
    capacity: usize,
    link: watch::Receiver<Link>,
    attached: Option<Attached>,
    failures: u32,
}

struct Attached {
    epoch: u64,
    inbox: String,
    answers: Subscriber,
    /// Open requests: number, and what is still to come.
    open: VecDeque<(u64, usize)>,
    next_number: u64,
    heard: Instant,
    hungry_since: Option<Instant>,
}

impl Puller {
    /// For up to `capacity` messages that are not yet settled.
    pub(crate) fn new(bus: Bus, consumer: ConsumerSpec, capacity: usize) -> Self {
        let link = bus.link();
        Self {
            bus,
            consumer,
            capacity: capacity.max(1),
            link,
            attached: None,
            failures: 0,
        }
    }

    /// The next message; asks for more when there is room for `room` messages. Waits for the bus
    /// for ever. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self, room: usize) -> Message {
        loop {
            let now = *self.link.borrow();
            if self
                .attached
                .as_ref()
                .is_some_and(|attached| !now.up || attached.epoch != now.epoch)
            {
                self.attached = None;
            }
            let Some(attached) = &mut self.attached else {
                self.attach().await;
                continue;
            };
            let linger = attached
                .ask(&self.bus, &self.consumer, self.capacity, room)
                .await;
            let silent = attached.heard + HEARTBEAT * 3;
            tokio::select! {
                biased;
                answer = attached.answers.next() => match answer.map(|a| attached.take(a)) {
                    Some(Taken::Message(message)) => return message,
                    Some(Taken::Noted) => {}
                    Some(Taken::Gone(why)) => self.detach(&why),
                    None => self.detach("the subscription ended"),
                },
                _ = self.link.changed() => {}
                () = sleep_until(linger.unwrap_or(silent)) => {
                    if linger.is_none() && !attached.open.is_empty() {
                        self.detach("the server is silent");
                    } else if linger.is_none() {
                        attached.heard = Instant::now();
                    }
                }
            }
        }
    }

    /// A message that is already here.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        let attached = self.attached.as_mut()?;
        loop {
            match attached
                .answers
                .next()
                .now_or_never()?
                .map(|answer| attached.take(answer))?
            {
                Taken::Message(message) => return Some(message),
                Taken::Noted => {}
                Taken::Gone(why) => {
                    self.detach(&why);
                    return None;
                }
            }
        }
    }

    /// Stops pulling; what has already arrived is given back.
    pub(crate) async fn stop(mut self) -> Vec<Message> {
        let Some(mut attached) = self.attached.take() else {
            return Vec::new();
        };
        // Refused only where the connection is closed, and then nothing more arrives.
        let _ = attached.answers.unsubscribe().await;
        let mut left = Vec::new();
        while let Some(Some(answer)) = attached.answers.next().now_or_never() {
            if let Taken::Message(message) = attached.take(answer) {
                left.push(message);
            }
        }
        left
    }

    fn detach(&mut self, why: &str) {
        info!(consumer = self.consumer.name, why, "pulling starts over");
        self.attached = None;
    }

    async fn attach(&mut self) {
        if self.failures > 0 {
            sleep(Backoff::REQUEST.delay(self.failures - 1)).await;
        }
        self.bus.connected().await;
        let epoch = self.link.borrow_and_update().epoch;
        if let Err(error) = ensure_consumer(&self.bus, &self.consumer).await {
            self.failures = self.failures.saturating_add(1);
            warn!(consumer = self.consumer.name, %error, "consumer not ready, trying again");
            return;
        }
        let inbox = self.bus.client().new_inbox();
        match self.bus.client().subscribe(format!("{inbox}.*")).await {
            Ok(answers) => {
                self.failures = 0;
                self.attached = Some(Attached::new(epoch, inbox, answers));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                warn!(consumer = self.consumer.name, %error, "cannot subscribe, trying again");
            }
        }
    }
}

enum Taken {
    Message(Message),
    Noted,
    Gone(String),
}

impl Attached {
    fn new(epoch: u64, inbox: String, answers: Subscriber) -> Self {
        Self {
            epoch,
            inbox,
            answers,
            open: VecDeque::new(),
            next_number: 0,
            heard: Instant::now(),
            hungry_since: None,
        }
    }

    /// Asks for what there is room for, or says until when it waits for more room.
    async fn ask(
        &mut self,
        bus: &Bus,
        consumer: &ConsumerSpec,
        capacity: usize,
        room: usize,
    ) -> Option<Instant> {
        let coming: usize = self.open.iter().map(|(_, left)| left).sum();
        let wanted = room.saturating_sub(coming);
        if wanted == 0 || (coming > 0 && wanted < capacity.div_ceil(4)) {
            return None;
        }
        if wanted < capacity.div_ceil(4) {
            let until = *self.hungry_since.get_or_insert_with(Instant::now) + LINGER;
            if Instant::now() < until {
                return Some(until);
            }
        }
        self.hungry_since = None;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({
            "batch": wanted, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT),
        });
        let subject = format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
            consumer.stream, consumer.name
        );
        let reply = format!("{}.{}", self.inbox, self.next_number);
        if self.open.is_empty() {
            self.heard = Instant::now();
        }
        let body = request.to_string().into();
        if let Err(error) = bus.client().publish_with_reply(subject, reply, body).await {
            // The silence that follows makes the puller start over.
            warn!(%error, "a pull request could not be sent");
        }
        // Noted after it was sent: this future may be dropped while it waits to send.
        self.open.push_back((self.next_number, wanted));
        self.next_number += 1;
        None
    }

    fn take(&mut self, answer: Message) -> Taken {
        self.heard = Instant::now();
        match status_code(&answer) {
            None => {
                // Requests are served in their order, and a message carries its own subject.
                if let Some((_, left)) = self.open.front_mut() {
                    *left -= 1;
                    if *left == 0 {
                        self.open.pop_front();
                    }
                }
                Taken::Message(answer)
            }
            Some(100) => Taken::Noted,
            // Consumer or stream gone, leadership moved, nobody answers.
            Some(409 | 503) => {
                let words = answer.description.clone().unwrap_or_default();
                if words.contains("Exceeded") || words.contains("Batch Completed") {
                    self.close(&answer);
                    return Taken::Noted;
                }
                Taken::Gone(words)
            }
            // Expired, or nothing there.
            Some(_) => {
                self.close(&answer);
                Taken::Noted
            }
        }
    }

    /// The request that a status answers is over.
    fn close(&mut self, answer: &Message) {
        let number = answer
            .subject
            .rsplit('.')
            .next()
            .and_then(|number| number.parse().ok());
        self.open.retain(|(open, _)| Some(*open) != number);
    }
}
