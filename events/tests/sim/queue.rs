//! The command queue: delivers at least once, in any order.

use std::collections::{BTreeMap, BTreeSet};

use nexus_events::{Command, CommandId};

use super::rng::Rng;

#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: CommandId,
    pub(crate) command: Command,
    in_flight: bool,
}

#[derive(Default)]
pub(crate) struct Queue {
    pending: BTreeMap<u64, Message>,
    published: u64,
    seen: BTreeSet<String>,
    /// Whether an id that was published before is dropped, as within the bus's duplicate window.
    pub(crate) drops_duplicates: bool,
}

impl Queue {
    pub(crate) fn publish(&mut self, id: CommandId, command: Command) {
        let new = self.seen.insert(id.as_str().to_owned());
        if new || !self.drops_duplicates {
            self.published += 1;
            self.pending.insert(
                self.published,
                Message {
                    id,
                    command,
                    in_flight: false,
                },
            );
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Any message; one that somebody works on only when `impatient`, and never a client's: of two
    /// workers on one message, one could reject it and acknowledge it for both, and the other accept
    /// it and die. A client's command takes milliseconds and waits half a minute.
    pub(crate) fn deliver(&mut self, rng: &mut Rng, impatient: bool) -> Option<(u64, Message)> {
        let clients = |message: &Message| matches!(message.command.role(), "run" | "session");
        let free = |message: &Message| !message.in_flight || impatient && !clients(message);
        let ready: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, message)| free(message))
            .map(|(&at, _)| at)
            .collect();
        if ready.is_empty() {
            return None;
        }
        let at = rng.pick(&ready);
        let message = self.pending.get_mut(&at)?;
        message.in_flight = true;
        Some((at, message.clone()))
    }

    pub(crate) fn acknowledge(&mut self, at: u64) {
        self.pending.remove(&at);
    }

    /// The worker died, or its acknowledgement was lost: the message comes again.
    pub(crate) fn give_back(&mut self, at: u64) {
        if let Some(message) = self.pending.get_mut(&at) {
            message.in_flight = false;
        }
    }
}
