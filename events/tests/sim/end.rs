//! How a schedule comes to its end: nobody dies any more, people decide what is left to decide, and
//! hour after hour passes until nothing more happens.

use nexus_events::command::ExpireReservations;

use super::world::{Chaos, World};
use super::{client, people, roles};

/// For so many rounds people say what they want.
const PEOPLE: u32 = 2;
/// For so many rounds time passes.
const HOURS: u32 = 6;

#[derive(Default)]
pub(crate) struct End {
    rounds: u32,
    /// What was held, or waited, and nobody knew of when the noise was over.
    pub(crate) left_over: u64,
}

/// Peace at last: what remains comes to its end.
pub(crate) fn make_peace(world: &mut World) {
    world.chaos = Chaos {
        snapshot: world.chaos.snapshot,
        ..Chaos::default()
    };
}

impl End {
    /// Nothing is under way: whether anything comes of what people say, or of time.
    pub(crate) fn goes_on(&mut self, world: &mut World) -> bool {
        make_peace(world);
        self.look(world);
        self.rounds += 1;
        let before = world.log.seq;
        people::resolve_all(world);
        if self.rounds <= PEOPLE {
            client::resume_paused(world);
            people::decide_all(world);
        }
        if self.rounds <= HOURS {
            world.now = world.now.plus_millis(3_600_000);
        }
        world.ring(world.now);
        let id = world.expiry();
        let done = roles::handle(world, &id, ExpireReservations::default().into());
        assert!(done.is_ok(), "nobody is killed any more");
        !world.queue.is_empty() || self.rounds <= PEOPLE || world.log.seq != before
    }

    /// It takes two workers on one command to lose a reservation: one finds that nothing is to be
    /// done and acknowledges, the other slept since before the run ended, reserves, and dies. What is
    /// held goes back by its own time, what waits is given back when its turn comes.
    fn look(&mut self, world: &World) {
        let left = world.left_over();
        if self.rounds == 0 {
            assert!(
                left.is_empty() || world.doubles(),
                "nobody settles {left:?}"
            );
            self.left_over = left.len() as u64;
        }
        let ledger = world
            .log
            .latest::<nexus_events::ledger::Ledger>(super::world::LEDGER);
        let held = left
            .into_iter()
            .filter(|id| ledger.state.reservation(*id).is_some());
        assert!(
            self.rounds < 2 || held.count() == 0,
            "what expired went back"
        );
    }
}
