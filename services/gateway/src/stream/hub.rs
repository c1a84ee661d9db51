//! One subscription to a subject for all who listen to it here. What is heard is read once and given
//! to each as a pointer, through a queue of his own: whoever is slow misses something and is told
//! so, and holds nobody up. A subscription for each listener was the alternative: the server then
//! sends, and the client parses, everything as many times as there are listeners.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_nats::{Client, Message, SubscribeError};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What a listener hears: the message, and the listener's own mark for the subject.
#[derive(Debug)]
pub(crate) struct Heard<T> {
    pub(crate) mark: usize,
    pub(crate) told: Arc<Told<T>>,
    /// Something before it was missed: the queue was full.
    pub(crate) missed: bool,
}

/// A message, as everybody hears it.
#[derive(Debug)]
pub(crate) struct Told<T> {
    /// It is the so manieth that was heard on its subject: see [`Hub::heard`].
    pub(crate) number: u64,
    pub(crate) what: T,
}

/// Where a listener's messages are put, those of several subjects too.
#[derive(Debug)]
pub(crate) struct Mouth<T> {
    queue: mpsc::Sender<(usize, Arc<Told<T>>)>,
    missed: Arc<AtomicBool>,
}

/// Where a listener hears them.
#[derive(Debug)]
pub(crate) struct Ears<T> {
    queue: mpsc::Receiver<(usize, Arc<Told<T>>)>,
    missed: Arc<AtomicBool>,
}

/// A queue of up to `most` messages.
pub(crate) fn queue<T>(most: usize) -> (Mouth<T>, Ears<T>) {
    let (sender, receiver) = mpsc::channel(most);
    let missed = Arc::new(AtomicBool::new(false));
    let mouth = Mouth {
        queue: sender,
        missed: Arc::clone(&missed),
    };
    let ears = Ears {
        queue: receiver,
        missed,
    };
    (mouth, ears)
}

impl<T> Clone for Mouth<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            missed: Arc::clone(&self.missed),
        }
    }
}

impl<T> Mouth<T> {
    fn tell(&self, mark: usize, told: &Arc<Told<T>>) {
        if self.queue.try_send((mark, Arc::clone(told))).is_err() {
            self.missed.store(true, Ordering::Release);
        }
    }
}

impl<T> Ears<T> {
    /// The next message; none when nothing more can come.
    pub(crate) async fn next(&mut self) -> Option<Heard<T>> {
        let heard = self.queue.recv().await?;
        Some(self.marked(heard))
    }

    /// The next message, if it is there already.
    pub(crate) fn waiting(&mut self) -> Option<Heard<T>> {
        let heard = self.queue.try_recv().ok()?;
        Some(self.marked(heard))
    }

    fn marked(&self, (mark, told): (usize, Arc<Told<T>>)) -> Heard<T> {
        // Something was missed only while there was something to be heard.
        let missed = self.missed.swap(false, Ordering::AcqRel);
        Heard { mark, told, missed }
    }
}

/// A subject, and who listens to it.
#[derive(Debug)]
pub(crate) struct Hub<T, K> {
    subject: String,
    heard: AtomicU64,
    seats: Mutex<Vec<(u64, usize, Mouth<T>)>>,
    next_seat: AtomicU64,
    task: OnceLock<AbortHandle>,
    /// What the listeners have in common besides.
    pub(crate) kept: K,
}

impl<T, K> Hub<T, K> {
    /// How many messages were heard so far. Whoever looks at the log after this was asked sees what
    /// they told of.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// Counts as if something had been heard: one may have been missed.
    pub(crate) fn count(&self) -> u64 {
        self.heard.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn seats(&self) -> MutexGuard<'_, Vec<(u64, usize, Mouth<T>)>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: T) {
        let number = self.count();
        let told = Arc::new(Told { number, what });
        for (_, mark, mouth) in self.seats().iter() {
            mouth.tell(*mark, &told);
        }
    }
}

/// All subjects of a kind that are listened to.
pub(crate) struct Hubs<T, K> {
    open: Mutex<HashMap<String, Arc<Hub<T, K>>>>,
    /// Reads a message; what is none of the kind is not told.
    read: fn(Message) -> Option<T>,
    keep: Box<dyn Fn() -> K + Send + Sync>,
}

impl<T, K> Hubs<T, K>
where
    T: Send + Sync + 'static,
    K: Send + Sync + 'static,
{
    pub(crate) fn new(
        read: fn(Message) -> Option<T>,
        keep: impl Fn() -> K + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            read,
            keep: Box::new(keep),
        })
    }

    /// Listens to a subject, as long as the seat is kept. What is read on this connection afterwards
    /// has whatever was published before.
    ///
    /// # Errors
    /// [`SubscribeError`]: the connection is closed.
    pub(crate) async fn join(
        self: &Arc<Self>,
        client: &Client,
        subject: String,
        mark: usize,
        mouth: Mouth<T>,
    ) -> Result<Seat<T, K>, SubscribeError> {
        if let Some(hub) = self.open().get(&subject) {
            return Ok(self.seat(hub, mark, mouth));
        }
        let messages = client.subscribe(subject.clone()).await?;
        Ok(self.begin(subject, messages, mark, mouth))
    }

    /// The same, by messages that are given up where another was faster.
    fn begin(
        self: &Arc<Self>,
        subject: String,
        messages: impl Stream<Item = Message> + Send + Unpin + 'static,
        mark: usize,
        mouth: Mouth<T>,
    ) -> Seat<T, K> {
        let mut open = self.open();
        let hub = open.entry(subject).or_insert_with_key(|subject| {
            let hub = Arc::new(Hub {
                subject: subject.clone(),
                heard: AtomicU64::new(0),
                seats: Mutex::default(),
                next_seat: AtomicU64::new(0),
                task: OnceLock::new(),
                kept: (self.keep)(),
            });
            let task = tokio::spawn(listen(Arc::clone(&hub), messages, self.read));
            let _ = hub.task.set(task.abort_handle());
            hub
        });
        self.seat(hub, mark, mouth)
    }

    /// Called while the subjects are locked: else the last one might leave meanwhile.
    fn seat(self: &Arc<Self>, hub: &Arc<Hub<T, K>>, mark: usize, mouth: Mouth<T>) -> Seat<T, K> {
        let number = hub.next_seat.fetch_add(1, Ordering::Relaxed);
        hub.seats().push((number, mark, mouth));
        Seat {
            hubs: Arc::clone(self),
            hub: Arc::clone(hub),
            number,
        }
    }
}

impl<T, K> Hubs<T, K> {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Hub<T, K>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen<T, K>(
    hub: Arc<Hub<T, K>>,
    mut messages: impl Stream<Item = Message> + Unpin,
    read: fn(Message) -> Option<T>,
) {
    while let Some(message) = messages.next().await {
        if let Some(what) = read(message) {
            hub.tell(what);
        }
    }
    // The connection is given up: nothing more can come.
    hub.seats().clear();
}

/// A listener's place at a subject. The last one who leaves ends the subscription.
pub(crate) struct Seat<T, K> {
    hubs: Arc<Hubs<T, K>>,
    hub: Arc<Hub<T, K>>,
    number: u64,
}

impl<T, K> Deref for Seat<T, K> {
    type Target = Hub<T, K>;

    fn deref(&self) -> &Self::Target {
        &self.hub
    }
}

impl<T, K> Drop for Seat<T, K> {
    fn drop(&mut self) {
        let mut open = self.hubs.open();
        let mut seats = self.hub.seats();
        seats.retain(|(number, ..)| *number != self.number);
        if !seats.is_empty() {
            return;
        }
        let is_known = |known: &Arc<Hub<T, K>>| Arc::ptr_eq(known, &self.hub);
        if open.get(&self.hub.subject).is_some_and(is_known) {
            open.remove(&self.hub.subject);
        }
        if let Some(task) = self.hub.task.get() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use futures_util::stream;

    use super::*;

    fn message(text: &str) -> Message {
        Message {
            subject: "a".into(),
            reply: None,
            payload: text.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: text.len(),
        }
    }

    fn text(message: Message) -> Option<String> {
        let text = String::from_utf8(message.payload.into()).unwrap();
        (text != "nonsense").then_some(text)
    }

    /// Messages that are said one after another.
    fn said() -> (
        mpsc::UnboundedSender<Message>,
        impl Stream<Item = Message> + Send + Unpin + 'static,
    ) {
        let (say, heard) = mpsc::unbounded_channel();
        let heard = stream::unfold(heard, async |mut heard: mpsc::UnboundedReceiver<_>| {
            Some((heard.recv().await?, heard))
        });
        (say, Box::pin(heard))
    }

    #[tokio::test]
    async fn one_subscription_serves_all_and_ends_with_the_last() {
        let hubs = Hubs::new(text, || ());
        let (say, messages) = said();
        let (mouth, mut first) = queue(8);
        let one = hubs.begin("a".to_owned(), messages, 7, mouth);
        let (mouth, mut second) = queue(8);
        // Whoever was slower to subscribe uses what is there.
        let (unused, late) = said();
        let two = hubs.begin("a".to_owned(), late, 9, mouth);
        assert!(unused.is_closed());
        for text in ["x", "nonsense", "y"] {
            say.send(message(text)).unwrap();
        }
        for number in 1..=2 {
            let (one, two) = (first.next().await.unwrap(), second.next().await.unwrap());
            assert!(Arc::ptr_eq(&one.told, &two.told), "read once");
            assert_eq!((one.mark, two.mark, one.told.number), (7, 9, number));
            assert_eq!(one.told.what, ["x", "y"][number as usize - 1]);
        }
        drop(one);
        assert_eq!(hubs.open().len(), 1);
        assert!(first.next().await.is_none(), "nothing more can come");
        say.send(message("z")).unwrap();
        assert_eq!(second.next().await.unwrap().told.what, "z");
        drop(two);
        assert!(hubs.open().is_empty());
        say.closed().await;
    }

    #[tokio::test]
    async fn who_is_slow_is_told_that_something_was_missed_and_holds_nobody_up() {
        let hubs = Hubs::new(text, || ());
        let (say, messages) = said();
        let (mouth, mut slow) = queue(2);
        let _one = hubs.begin("a".to_owned(), messages, 0, mouth);
        let (mouth, mut fast) = queue(8);
        let _two = hubs.begin("a".to_owned(), stream::pending(), 0, mouth);
        for text in ["1", "2", "3", "4"] {
            say.send(message(text)).unwrap();
        }
        for text in ["1", "2", "3", "4"] {
            let heard = fast.next().await.unwrap();
            assert_eq!((heard.told.what.as_str(), heard.missed), (text, false));
        }
        let heard = slow.next().await.unwrap();
        assert_eq!((heard.told.what.as_str(), heard.missed), ("1", true));
        let heard = slow.waiting().unwrap();
        assert_eq!((heard.told.what.as_str(), heard.missed), ("2", false));
        assert!(slow.waiting().is_none());
    }
}
