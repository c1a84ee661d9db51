//! Messages of lanes that were read and are not yet taken. Only what saves a second read is kept: all
//! of it can be forgotten at any moment.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::message::Message;

/// What all lanes of a webhook may hold, in bytes; one commit may exceed it.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Messages of one lane, in order.
#[derive(Debug)]
struct Queue {
    messages: VecDeque<Arc<Message>>,
    /// Up to here the lane has no message that was not taken and is not in the queue.
    until: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    queues: HashMap<String, Queue>,
    bytes: usize,
}

impl Lanes {
    /// Whether there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < MOST_BYTES
    }

    /// The message whose turn it is.
    pub(crate) fn first(&self, lane: &str) -> Option<Arc<Message>> {
        self.queues.get(lane)?.messages.front().cloned()
    }

    /// Up to where the queue of a lane is whole.
    pub(crate) fn until(&self, lane: &str) -> Option<u64> {
        self.queues.get(lane).map(|queue| queue.until)
    }

    /// Messages of the commit `seq`, which follow what is there whole up to `after`; of a lane that is
    /// not there yet, they are the first where `after` is none.
    pub(crate) fn add(&mut self, lane: &str, after: Option<u64>, seq: u64, more: Vec<Message>) {
        if self.until(lane) != after {
            return;
        }
        let queue = (self.queues.entry(lane.to_owned())).or_insert_with(|| Queue {
            messages: VecDeque::new(),
            until: 0,
        });
        queue.until = seq;
        for message in more {
            self.bytes += message.body.len();
            queue.messages.push_back(Arc::new(message));
        }
    }

    /// The first message is settled; gives the place of the next one.
    pub(crate) fn pop(&mut self, lane: &str) -> Option<(u64, u32)> {
        let queue = self.queues.get_mut(lane)?;
        let done = queue.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(done.body.len());
        Some(match queue.messages.front() {
            Some(next) => (next.seq, next.index),
            None => (queue.until + 1, 0),
        })
    }

    /// Forgets a lane.
    pub(crate) fn forget(&mut self, lane: &str) {
        if let Some(queue) = self.queues.remove(lane) {
            let bytes: usize = queue
                .messages
                .iter()
                .map(|message| message.body.len())
                .sum();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, index: u32) -> Message {
        Message {
            id: String::new(),
            type_name: String::new(),
            seq,
            index,
            body: bytes::Bytes::from_static(b"12345"),
        }
    }

    #[test]
    fn a_queue_says_what_comes_next_and_takes_only_what_follows() {
        let mut lanes = Lanes::default();
        lanes.add("a", None, 4, vec![message(4, 0), message(4, 2)]);
        lanes.add("a", Some(4), 9, vec![message(9, 1)]);
        lanes.add("a", Some(8), 12, vec![message(12, 0)]);
        assert_eq!((lanes.until("a"), lanes.bytes), (Some(9), 15));
        assert_eq!(lanes.pop("a"), Some((4, 2)));
        assert_eq!(lanes.pop("a"), Some((9, 1)));
        assert_eq!(lanes.pop("a"), Some((10, 0)));
        assert_eq!((lanes.pop("a"), lanes.bytes), (None, 0));
        lanes.add("b", None, 5, vec![message(5, 0)]);
        lanes.forget("b");
        assert!(lanes.first("b").is_none() && lanes.bytes == 0);
    }
}
