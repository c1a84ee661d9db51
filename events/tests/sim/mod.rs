//! The platform in one process and one thread, without time: the real decisions over a log, a queue
//! and workers that die, sleep and work from old reads.

mod check;
mod client;
mod end;
mod execute;
mod log;
mod people;
mod plan;
mod queue;
mod rng;
mod roles;
mod seen;
mod story;
mod world;

use world::World;

/// Lives through one schedule and checks what is left of it.
pub(crate) fn live(seed: u64, tells: bool) -> Seen {
    let mut world = World::new(seed, tells);
    let (mut acts, mut end): (u32, _) = (0, end::End::default());
    loop {
        world.act();
        acts += 1;
        assert!(acts < 20_000, "it does not come to an end");
        if acts == 400 {
            end::make_peace(&mut world);
        }
        if world.queue.is_empty() && client::is_done(&world) && !end.goes_on(&mut world) {
            break;
        }
    }
    let mut seen = check::all(&world, tells || seed.is_multiple_of(4));
    seen.left_over = end.left_over;
    seen
}

pub(crate) use seen::Seen;
