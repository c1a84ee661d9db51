//! What was recorded last on a subject, for all who follow it here: whoever comes to the end first
//! reads on for everybody. Readers take what they lack from here as long as it is kept, and read the
//! log themselves where they are further back, so that nobody waits for another who is slow.
//!
//! What is kept is a stretch of the log without a gap: every commit of the subject from its first to
//! its last sequence. It is filled by reading the log and never by what is told live, which may be
//! lost or out of order. A task that reads for all was the alternative: it would have to know how far
//! the fastest is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::ReadError;
use tokio::time::timeout;

use super::commit::Commit;
use super::history::HistoryPage;

/// Commits that are kept of a subject, and what they may hold as they were recorded.
const MOST: usize = 128;
const MOST_BYTES: usize = 512 * 1024;
/// What those of all subjects may hold.
const MOST_OF_ALL_BYTES: usize = 16 * 1024 * 1024;

/// Commits that are read for all at once.
const TOGETHER: usize = 32;
/// How long a reader waits for another who reads: where the bus is away, all find out together.
const PATIENCE: Duration = Duration::from_secs(1);

/// What all tails hold together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The first sequence that it has not.
    pub(crate) next: u64,
    /// What it was told of: see [`super::hub::Hub::heard`].
    pub(crate) wanted: u64,
    /// Commits that it takes at most.
    pub(crate) limit: usize,
}

/// What a reader is given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// In order.
    pub(crate) commits: Vec<Arc<Commit>>,
    /// There may be more.
    pub(crate) more: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: Mutex<Kept>,
    /// Whoever reads on for all.
    reading: tokio::sync::Mutex<()>,
    room: Room,
}

/// Every commit from `first` on to `last`.
#[derive(Debug, Default)]
struct Kept {
    begun: bool,
    first: u64,
    last: u64,
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    /// There was nothing after `last` when so much had been heard.
    looked: Option<u64>,
}

/// What is to be done for a reader.
enum Look {
    Given(Given),
    /// To read on from the end, for all.
    AtTheEnd {
        from: u64,
    },
    /// To read for itself.
    Elsewhere,
}

impl Tail {
    pub(crate) fn new(room: Room) -> Self {
        Self {
            kept: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            room,
        }
    }

    /// What comes next for a reader. `heard` is how much was heard so far, and `read` reads so much of
    /// the log from a sequence on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) async fn next<F>(
        &self,
        place: Place,
        heard: impl Fn() -> u64,
        read: impl Fn(u64, usize) -> F,
    ) -> Result<Given, ReadError>
    where
        F: Future<Output = Result<HistoryPage, ReadError>>,
    {
        loop {
            match self.look(place) {
                Look::Given(given) => return Ok(given),
                Look::Elsewhere => return self.read_alone(place, heard, read).await,
                Look::AtTheEnd { .. } => {}
            }
            let Ok(_reading) = timeout(PATIENCE, self.reading.lock()).await else {
                return self.read_alone(place, heard, read).await;
            };
            // Another may have read meanwhile.
            if let Look::AtTheEnd { from } = self.look(place) {
                let at = heard();
                let page = read(from, TOGETHER).await?;
                self.append(from, page, at);
            }
        }
    }

    async fn read_alone<F>(
        &self,
        place: Place,
        heard: impl Fn() -> u64,
        read: impl Fn(u64, usize) -> F,
    ) -> Result<Given, ReadError>
    where
        F: Future<Output = Result<HistoryPage, ReadError>>,
    {
        let at = heard();
        let page = read(place.next, place.limit).await?;
        Ok(self.offer(place, page, at))
    }

    fn look(&self, place: Place) -> Look {
        let kept = self.kept();
        let end = kept.last + 1;
        if !kept.begun || place.next < kept.first || place.next > end {
            return Look::Elsewhere;
        }
        if place.next == end {
            return match kept.looked.is_some_and(|looked| looked >= place.wanted) {
                true => Look::Given(Given::default()),
                false => Look::AtTheEnd { from: end },
            };
        }
        let begin = kept.commits.partition_point(|one| one.seq < place.next);
        let commits = kept.commits.iter().skip(begin).take(place.limit);
        Look::Given(Given {
            commits: commits.cloned().collect(),
            more: true,
        })
    }

    /// What a reader has read for itself: it is kept where it is newer than what is.
    fn offer(&self, place: Place, page: HistoryPage, at: u64) -> Given {
        let given = Given {
            more: page.next.is_some(),
            commits: shared(page),
        };
        let mut kept = self.kept();
        if let Some(newest) = given.commits.last()
            && (!kept.begun || newest.seq > kept.last)
        {
            self.drop_all(&mut kept);
            (kept.begun, kept.first) = (true, place.next);
            self.keep(&mut kept, &given, at);
        }
        given
    }

    fn append(&self, from: u64, page: HistoryPage, at: u64) {
        let given = Given {
            more: page.next.is_some(),
            commits: shared(page),
        };
        let mut kept = self.kept();
        // Else a reader who was ahead made a new beginning.
        if kept.last + 1 == from {
            self.keep(&mut kept, &given, at);
        }
    }

    fn keep(&self, kept: &mut Kept, given: &Given, at: u64) {
        for commit in &given.commits {
            kept.last = commit.seq;
            kept.bytes += commit.bytes();
            self.room.0.fetch_add(commit.bytes(), Ordering::Relaxed);
            kept.commits.push_back(Arc::clone(commit));
        }
        kept.looked = (!given.more).then_some(at);
        let has_room = |kept: &Kept| {
            let of_all = self.room.0.load(Ordering::Relaxed);
            kept.commits.len() <= MOST && kept.bytes <= MOST_BYTES && of_all <= MOST_OF_ALL_BYTES
        };
        while !has_room(kept)
            && let Some(oldest) = kept.commits.pop_front()
        {
            kept.first = oldest.seq + 1;
            kept.bytes -= oldest.bytes();
            self.room.0.fetch_sub(oldest.bytes(), Ordering::Relaxed);
        }
    }

    fn drop_all(&self, kept: &mut Kept) {
        self.room.0.fetch_sub(kept.bytes, Ordering::Relaxed);
        *kept = Kept::default();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut kept = std::mem::take(&mut *self.kept());
        self.drop_all(&mut kept);
    }
}

fn shared(page: HistoryPage) -> Vec<Arc<Commit>> {
    let commits = page.commits.into_iter().map(Commit::of_many);
    commits.map(Arc::new).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use std::sync::atomic::AtomicU64;

    use nexus_bus::read::Stored;
    use nexus_events::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// A log, and how often it was read.
    #[derive(Default)]
    struct Log {
        seqs: Mutex<Vec<u64>>,
        heard: AtomicU64,
        reads: AtomicUsize,
    }

    impl Log {
        fn append(&self, seq: u64) {
            self.seqs.lock().unwrap().push(seq);
            self.heard.fetch_add(1, Ordering::Relaxed);
        }

        fn heard(&self) -> u64 {
            self.heard.load(Ordering::Relaxed)
        }

        async fn read(&self, from: u64, limit: usize) -> Result<HistoryPage, ReadError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let seqs = self.seqs.lock().unwrap().clone();
            // Others come between.
            tokio::task::yield_now().await;
            let mut after = seqs.into_iter().filter(|seq| *seq >= from);
            let commits: Vec<Stored> = after.by_ref().take(limit).map(stored).collect();
            let next = after.next().and(commits.last()).map(|last| last.seq + 1);
            Ok(HistoryPage { commits, next })
        }

        fn reads(&self) -> usize {
            self.reads.swap(0, Ordering::Relaxed)
        }
    }

    fn stored(seq: u64) -> Stored {
        Stored {
            subject: "nexus.acme.evt.run.x".to_owned(),
            seq,
            time: Timestamp::from_millis(0),
            headers: Default::default(),
            body: vec![b'x'; 100].into(),
        }
    }

    /// A reader and what it has.
    struct Reader {
        next: u64,
        wanted: u64,
        got: Vec<Arc<Commit>>,
    }

    impl Reader {
        fn at(next: u64) -> Self {
            Self {
                next,
                wanted: 0,
                got: vec![],
            }
        }

        /// Takes up to so many times what there is; says whether there may be more.
        async fn take(&mut self, log: &Log, tail: &Tail, limit: usize, times: usize) -> bool {
            self.wanted = log.heard();
            for _ in 0..times {
                let place = Place {
                    next: self.next,
                    wanted: self.wanted,
                    limit,
                };
                let given = tail.next(place, || log.heard(), |from, limit| log.read(from, limit));
                let given = given.await.unwrap();
                self.next = given.commits.last().map_or(self.next, |last| last.seq + 1);
                self.got.extend(given.commits);
                if !given.more {
                    return false;
                }
            }
            true
        }

        async fn all(&mut self, log: &Log, tail: &Tail) {
            while self.take(log, tail, 3, 100).await {}
        }
    }

    #[tokio::test]
    async fn a_hundred_readers_cost_one_reading_and_hold_the_same() {
        let (log, tail) = (Log::default(), Tail::new(Room::default()));
        log.append(5);
        let mut readers: Vec<Reader> = (0..100).map(|_| Reader::at(1)).collect();
        for reader in &mut readers {
            reader.all(&log, &tail).await;
        }
        assert_eq!(log.reads(), 1, "all but the first take what it has read");
        for seq in [6, 9] {
            log.append(seq);
            let all = readers.iter_mut().map(|reader| reader.all(&log, &tail));
            futures_util::future::join_all(all).await;
            assert_eq!(log.reads(), 1, "at the same time too");
        }
        for reader in &readers {
            let pairs = reader.got.iter().zip(&readers[0].got);
            assert!(pairs.clone().count() == 3);
            assert!(pairs.clone().all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }

    #[tokio::test]
    async fn nothing_is_read_where_nothing_was_heard() {
        let (log, tail) = (Log::default(), Tail::new(Room::default()));
        log.append(5);
        let mut reader = Reader::at(1);
        reader.all(&log, &tail).await;
        log.reads();
        reader.all(&log, &tail).await;
        assert_eq!(log.reads(), 0);
        // A hint that was lost: whoever counts it sees what it told of.
        log.seqs.lock().unwrap().push(6);
        log.heard.fetch_add(1, Ordering::Relaxed);
        reader.all(&log, &tail).await;
        assert_eq!(reader.got.len(), 2);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_given_back() {
        let room = Room::default();
        let (log, tail) = (Log::default(), Tail::new(room.clone()));
        (1..=1_000).for_each(|seq| log.append(seq));
        let mut reader = Reader::at(1);
        reader.all(&log, &tail).await;
        assert_eq!(reader.got.len(), 1_000);
        assert_eq!(room.0.load(Ordering::Relaxed), MOST * 100);
        let full = Tail::new(Room(Arc::new(AtomicUsize::new(MOST_OF_ALL_BYTES))));
        let mut other = Reader::at(1);
        other.all(&log, &full).await;
        assert_eq!(
            other.got.len(),
            1_000,
            "without room it is read all the same"
        );
        assert!(full.kept().commits.is_empty());
        drop(tail);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Append(u64),
        /// A reader comes, so far before or behind the end.
        Open(i64),
        /// A reader takes some.
        Take(usize, usize),
        /// All take what there is, at the same time.
        All,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (1u64..4).prop_map(Act::Append),
            1 => (-40i64..4).prop_map(Act::Open),
            4 => (0usize..8, 1usize..3).prop_map(|(reader, times)| Act::Take(reader, times)),
            2 => Just(Act::All),
        ]
    }

    proptest! {
        #[test]
        fn each_reader_has_every_commit_once_and_in_order(acts in proptest::collection::vec(act(), 1..80)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let room = Room(Arc::new(AtomicUsize::new(MOST_OF_ALL_BYTES - 700)));
            let (log, tail) = (Log::default(), Tail::new(room));
            let (mut last, mut readers) = (0u64, vec![(1, Reader::at(1))]);
            for act in acts.into_iter().chain([Act::All]) {
                match act {
                    Act::Append(more) => {
                        last += more;
                        log.append(last);
                    }
                    Act::Open(from) => {
                        let from = last.saturating_add_signed(from).max(1);
                        readers.push((from, Reader::at(from)));
                    }
                    Act::Take(which, times) => {
                        let which = which % readers.len();
                        let (_, reader) = &mut readers[which];
                        runtime.block_on(reader.take(&log, &tail, 2, times));
                    }
                    Act::All => {
                        let all = readers.iter_mut().map(|(_, reader)| reader.all(&log, &tail));
                        runtime.block_on(futures_util::future::join_all(all));
                    }
                }
            }
            for (from, reader) in &readers {
                let got: Vec<u64> = reader.got.iter().map(|one| one.seq).collect();
                let seqs = log.seqs.lock().unwrap();
                let expected: Vec<u64> = seqs.iter().copied().filter(|seq| seq >= from).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
