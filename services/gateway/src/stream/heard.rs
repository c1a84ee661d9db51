//! What this process listens to for its event streams: each subject once, however many want it.

use std::sync::Arc;

use async_nats::SubscribeError;
use nexus_events::{AggregateId, AggregateKind, RunId, Tenant, subject};
use tokio::sync::watch;

use super::commit::{Delta, Live};
use super::hub::{Ears, Hubs, Seat, queue};
use super::tail::{Room, Tail};
use crate::app::App;

/// Commits that may wait for a run's listener: what finds no room is read from the log.
const COMMITS: usize = 1_024;
/// Fragments that may wait for one; what finds no room is not told.
const FRAGMENTS: usize = 65_536;

/// Subjects of recorded commits, each with what was recorded last.
pub(crate) type LogHubs = Hubs<Live, Tail>;
pub(crate) type LogSeat = Seat<Live, Tail>;
type LiveHubs = Hubs<Delta, ()>;

/// See the module.
pub(crate) struct Subjects {
    pub(crate) log: Arc<LogHubs>,
    live: Arc<LiveHubs>,
}

impl Subjects {
    pub(crate) fn new() -> Self {
        let room = Room::default();
        Self {
            log: Hubs::new(Live::of, move || Tail::new(room.clone())),
            live: Hubs::new(Delta::of, || ()),
        }
    }
}

/// What a listener of one run hears: what is recorded, and the fragments.
pub(crate) struct Listening {
    pub(crate) log: Ears<Live>,
    pub(crate) live: Option<Ears<Delta>>,
    pub(crate) connects: watch::Receiver<u64>,
    _seats: (LogSeat, Option<Seat<Delta, ()>>),
}

impl Listening {
    /// Begins to listen. A read on the same connection after this one sees whatever was published
    /// before, since the server takes both in their order.
    ///
    /// # Errors
    /// [`SubscribeError`]: the connection is closed.
    pub(crate) async fn to(
        app: &App,
        tenant: &Tenant,
        run: RunId,
        fragments: bool,
    ) -> Result<Self, SubscribeError> {
        let (subjects, client) = (app.subjects(), app.bus().client());
        let connects = app.connects();
        let told = subject::log(tenant, AggregateKind::Run, &AggregateId::from(run));
        let (mouth, log) = queue(COMMITS);
        let log_seat = subjects.log.join(client, told, 0, mouth).await?;
        let (mut live, mut live_seat) = (None, None);
        if fragments {
            let (mouth, ears) = queue(FRAGMENTS);
            let told = subject::live_run(tenant, run);
            live_seat = Some(subjects.live.join(client, told, 0, mouth).await?);
            live = Some(ears);
        }
        Ok(Self {
            log,
            live,
            connects,
            _seats: (log_seat, live_seat),
        })
    }
}
