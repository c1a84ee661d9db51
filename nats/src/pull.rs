//! Pulling from a durable consumer: exactly as many messages as there is room for. The client's
//! own message stream asks for fixed batches ahead; with slow handlers that takes commands away
//! from idle processes, and with small batches it stalls. Here a request asks for the room that is
//! there, and a new connection or a vanished consumer starts over. Of a role that has one active
//! process only, the request of one that stands by waits like any other until the server serves it.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::connect::{Bus, Link};
use crate::consumer::{ConsumerSpec, ensure_consumer, role_of, unpin};
use crate::pin::Pin;
use crate::read::status_code;

const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// With no request open and little room, wait this long for more room, so that a busy role asks for
/// several at once instead of one at a time.
const LINGER: Duration = Duration::from_millis(1);
/// A stopping process waits this long for the server to take its place away.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Messages of one consumer.
pub(crate) struct Puller {
    bus: Bus,
    consumer: ConsumerSpec,
    capacity: usize,
    link: watch::Receiver<Link>,
    attached: Option<Attached>,
    /// Where one process is active only; it outlives a connection.
    pin: Option<Pin>,
    failures: u32,
}

struct Attached {
    epoch: u64,
    inbox: String,
    answers: Subscriber,
    /// Open requests: number, and what is still to come.
    open: VecDeque<(u64, usize)>,
    next_number: u64,
    /// The request that renews the place of an active process.
    renewal: Option<u64>,
    heard: Instant,
    hungry_since: Option<Instant>,
}

impl Puller {
    /// For up to `capacity` messages that are not yet settled.
    pub(crate) fn new(bus: Bus, consumer: ConsumerSpec, capacity: usize) -> Self {
        let link = bus.link();
        let pin = (consumer.single_active).then(|| Pin::new(role_of(&consumer.name)));
        Self {
            bus,
            consumer,
            capacity: capacity.max(1),
            link,
            attached: None,
            pin,
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
                self.forget();
            }
            let Some(attached) = &mut self.attached else {
                self.attach().await;
                continue;
            };
            let pin = &mut self.pin;
            let linger = attached
                .ask(&self.bus, &self.consumer, self.capacity, room, pin.as_ref())
                .await;
            attached
                .renew(&self.bus, &self.consumer, pin.as_mut())
                .await;
            let silent = attached.heard + HEARTBEAT * 3;
            let wakes = [linger, pin.as_ref().and_then(Pin::wakes_at)];
            let wake = wakes.into_iter().flatten().fold(silent, Instant::min);
            tokio::select! {
                biased;
                answer = attached.answers.next() => match answer.map(|a| attached.take(a, pin.as_mut())) {
                    Some(Taken::Message(message)) => return message,
                    Some(Taken::Noted) => {}
                    Some(Taken::Gone(why)) => self.detach(&why),
                    None => self.detach("the subscription ended"),
                },
                _ = self.link.changed() => {}
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    let overdue = pin.as_ref().is_some_and(|pin| pin.is_overdue(now));
                    if overdue || (now >= silent && !attached.open.is_empty()) {
                        self.detach("the server is silent");
                    } else if now >= silent {
                        attached.heard = now;
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
                .map(|answer| attached.take(answer, self.pin.as_mut()))?
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
    pub(crate) async fn stop(&mut self) -> Vec<Message> {
        let Some(mut attached) = self.attached.take() else {
            return Vec::new();
        };
        // Refused only where the connection is closed, and then nothing more arrives.
        let _ = attached.answers.unsubscribe().await;
        let mut left = Vec::new();
        while let Some(Some(answer)) = attached.answers.next().now_or_never() {
            if let Taken::Message(message) = attached.take(answer, self.pin.as_mut()) {
                left.push(message);
            }
        }
        left
    }

    /// Lets another process become active at once, where this one is; after [`Self::stop`], so that
    /// no request of this one is left to get the place again.
    pub(crate) async fn hand_over(self) {
        if self.pin.as_ref().is_some_and(|pin| pin.id().is_some()) {
            let done = timeout(HAND_OVER, unpin(&self.bus, &self.consumer)).await;
            // Without an answer the place is lost a little later.
            if !matches!(done, Ok(Ok(()))) {
                info!(
                    consumer = self.consumer.name,
                    "the place could not be handed over and will time out"
                );
            }
        }
    }

    fn detach(&mut self, why: &str) {
        info!(consumer = self.consumer.name, why, "pulling starts over");
        // Not at once: what the server refuses now it may refuse again.
        self.failures = self.failures.max(1);
        self.forget();
    }

    /// Requests on another subscription are answered there.
    fn forget(&mut self) {
        self.attached = None;
        if let Some(pin) = &mut self.pin {
            pin.answered();
        }
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
            renewal: None,
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
        pin: Option<&Pin>,
    ) -> Option<Instant> {
        // The server gives the place to one request: only that one would be served.
        if pin.is_some_and(|pin| pin.id().is_none()) && !self.open.is_empty() {
            return None;
        }
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
        let mut request = json!({
            "batch": wanted, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT),
        });
        if let Some(pin) = pin {
            request = pin.on_request(request);
        }
        if self.open.is_empty() {
            self.heard = Instant::now();
        }
        let number = self.send(bus, consumer, &request).await;
        // Noted after it was sent: this future may be dropped while it waits to send.
        self.open.push_back((number, wanted));
        None
    }

    /// Keeps the place of an active process.
    async fn renew(&mut self, bus: &Bus, consumer: &ConsumerSpec, pin: Option<&mut Pin>) {
        let Some(pin) = pin else { return };
        if let Some(renewal) = pin.renewal(Instant::now()) {
            self.renewal = Some(self.send(bus, consumer, &renewal).await);
            pin.renewing(Instant::now());
        }
    }

    async fn send(&mut self, bus: &Bus, consumer: &ConsumerSpec, request: &Value) -> u64 {
        let (stream, name) = (consumer.stream, &consumer.name);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        let number = self.next_number;
        let reply = format!("{}.{number}", self.inbox);
        let body = request.to_string().into();
        if let Err(error) = bus.client().publish_with_reply(subject, reply, body).await {
            // The silence that follows makes the puller start over.
            warn!(%error, "a pull request could not be sent");
        }
        self.next_number += 1;
        number
    }

    fn take(&mut self, answer: Message, pin: Option<&mut Pin>) -> Taken {
        self.heard = Instant::now();
        let Some(status) = status_code(&answer) else {
            if let Some(pin) = pin {
                pin.came_with(&answer);
            }
            // Requests are served in their order, and a message carries its own subject.
            if let Some((_, left)) = self.open.front_mut() {
                *left -= 1;
                if *left == 0 {
                    self.open.pop_front();
                }
            }
            return Taken::Message(answer);
        };
        match (status, pin) {
            (100, _) => Taken::Noted,
            (423, Some(pin)) => {
                self.displaced(&answer, pin);
                Taken::Noted
            }
            (_, Some(pin)) if self.is_renewal(&answer) => {
                self.renewal = None;
                pin.answered();
                Taken::Noted
            }
            // The consumer is not as this version wants it: another version was here.
            (400, _) => Taken::Gone(answer.description.clone().unwrap_or_default()),
            // Consumer or stream gone, leadership moved, nobody answers.
            (409 | 503, _) => {
                let words = answer.description.clone().unwrap_or_default();
                if words.contains("Exceeded") || words.contains("Batch Completed") {
                    self.close(&answer);
                    return Taken::Noted;
                }
                Taken::Gone(words)
            }
            // Expired, or nothing there.
            _ => {
                self.close(&answer);
                Taken::Noted
            }
        }
    }

    /// The server does not know the place that a request named: none of those that are open will be
    /// served, and the next one asks as one that stands by. What is said of a request that was
    /// given up already says nothing of the place.
    fn displaced(&mut self, answer: &Message, pin: &mut Pin) {
        let number = number_of(answer);
        if self.is_renewal(answer) || self.open.iter().any(|(open, _)| Some(*open) == number) {
            self.open.clear();
            self.renewal = None;
            pin.answered();
            pin.lost();
        }
    }

    fn is_renewal(&self, answer: &Message) -> bool {
        self.renewal.is_some() && self.renewal == number_of(answer)
    }

    /// The request that a status answers is over.
    fn close(&mut self, answer: &Message) {
        let number = number_of(answer);
        self.open.retain(|(open, _)| Some(*open) != number);
    }
}

/// The number of the request that a status answers.
fn number_of(answer: &Message) -> Option<u64> {
    answer.subject.rsplit('.').next()?.parse().ok()
}
