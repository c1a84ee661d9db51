//! The platform in one process and one thread, without time: the real decisions over a log, a queue
//! and workers that die, sleep and work from old reads.

mod check;
mod client;
mod execute;
mod log;
mod queue;
mod rng;
mod roles;
mod story;
mod world;

use world::World;

/// Lives through one schedule and checks what is left of it.
pub(crate) fn live(seed: u64, tells: bool) -> Seen {
    let mut world = World::new(seed, tells);
    let mut acts: u32 = 0;
    loop {
        world.act();
        acts += 1;
        assert!(acts < 20_000, "it does not come to an end");
        if acts == 400 {
            client::make_peace(&mut world);
        }
        if world.queue.is_empty() && client::is_done(&world) && !client::resume_paused(&mut world) {
            break;
        }
    }
    let held = world.held();
    world.expire_all();
    check::all(&world, &held, tells || seed.is_multiple_of(4))
}

pub(crate) use check::Seen;
