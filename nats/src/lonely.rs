//! A node that is cut off from its peers: it keeps its clients' connections and cannot do anything
//! for them. A client library sees a healthy connection, so that it is for us to go elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long nothing may be granted before another node is tried: longer than a cluster takes to
/// choose a new leader (5 to 7 s), during which every node is like that.
const PATIENCE: Duration = Duration::from_secs(9);

/// Whether the node that we are connected to still does anything.
pub(crate) struct Lonely {
    began: Instant,
    /// When it last did, or was last left, in milliseconds after `began`.
    heard_ms: AtomicU64,
}

impl Lonely {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// It has answered.
    pub(crate) fn heard(&self) {
        self.heard_ms.store(self.now(), Ordering::Relaxed);
    }

    /// It has not. Gives whether it is time to leave it, which one of all callers is told, and how
    /// long nothing was heard.
    pub(crate) fn silent(&self) -> Option<Duration> {
        let (now, heard) = (self.now(), self.heard_ms.load(Ordering::Relaxed));
        let silence = Duration::from_millis(now.saturating_sub(heard));
        let mine = || {
            let swap =
                self.heard_ms
                    .compare_exchange(heard, now, Ordering::Relaxed, Ordering::Relaxed);
            swap.is_ok()
        };
        (silence > PATIENCE && mine()).then_some(silence)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_left_once_after_a_long_silence() {
        let lonely = Lonely::new();
        tokio::time::advance(PATIENCE).await;
        assert_eq!(lonely.silent(), None);
        lonely.heard();
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(lonely.silent(), None);
        tokio::time::advance(PATIENCE).await;
        assert!(lonely.silent().is_some());
        assert_eq!(lonely.silent(), None, "the next node gets its time");
    }
}
