//! The queue among threads, by a model checker: the real code, with every order in which its critical sections can follow
//! each other.
//!
//! All that threads share is behind the one mutex, which is held over no wait; besides that there are two counters that
//! decide nothing. So it is enough to let the checker choose who goes on before each taking of the lock, and between giving
//! it back and waking others. Where nobody can go on any more although somebody waits, a wake-up was lost, and
//! the checker says so.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use shuttle::future::block_on;
use shuttle::thread;

use super::tests::{admission, ask, concurrency};
use super::{Admission, Lease, RouteId, Urgency};
use crate::call::limits::Hints;
use crate::failure::{Failure, Kind};
use crate::limits::Limits;

/// How many schedules are tried.
const SCHEDULES: usize = 1000;

thread_local! {
    static CHECKED: Cell<bool> = const { Cell::new(false) };
}

/// Lets another thread go on, if the checker wants that.
pub(super) fn switch() {
    if CHECKED.get() {
        thread::yield_now();
    }
}

/// Tries a small world under many schedules, at random and with few changes of thread at the worst moments.
fn check(world: fn()) {
    let checked = move || {
        CHECKED.set(true);
        world();
        CHECKED.set(false);
    };
    shuttle::check_random(checked, SCHEDULES);
    shuttle::check_pct(checked, SCHEDULES, 3);
}

/// One queue, how many calls are under way, and how many may be.
struct World {
    admission: Arc<Admission>,
    route: RouteId,
    running: AtomicUsize,
    most: usize,
}

impl World {
    fn new(most: u32) -> Arc<World> {
        let admission = admission(&[concurrency(most)]);
        let route = admission.route(&["m0".into()]);
        Arc::new(World { admission, route, running: AtomicUsize::new(0), most: most as usize })
    }

    fn acquire(&self, priority: u8) -> super::Acquire {
        self.admission.acquire(ask(&self.admission, self.route, Urgency { priority, deadline: None }))
    }

    fn call(&self, lease: Lease, failure: Option<&Failure>) {
        assert!(self.running.fetch_add(1, Ordering::Relaxed) < self.most, "more calls than allowed");
        switch();
        self.running.fetch_sub(1, Ordering::Relaxed);
        lease.settle(None, failure, &Hints::default());
    }

    /// Waits for everyone, and sees that nothing is left behind.
    fn end(&self, threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let snapshot = self.admission.snapshot();
        assert_eq!((snapshot.waiting, snapshot.endpoints[0].in_flight), (0, 0));
    }
}

/// Starts a thread for each number.
fn spawn(
    world: &Arc<World>,
    count: u8,
    act: impl Fn(&World, u8) + Send + Sync + 'static,
) -> Vec<thread::JoinHandle<()>> {
    let act = Arc::new(act);
    let start = |number| {
        let (world, act) = (world.clone(), act.clone());
        thread::spawn(move || act(&world, number))
    };
    (0..count).map(start).collect()
}

#[test]
fn everyone_is_served_and_no_more_at_once_than_may_be() {
    for world in [|| served(1), || served(2)] {
        check(world);
    }
}

fn served(most: u32) {
    let world = World::new(most);
    let threads = spawn(&world, 3, |world, number| {
        for _ in 0..2 {
            let lease = block_on(world.acquire(number)).unwrap();
            world.call(lease, None);
        }
    });
    world.end(threads);
}

#[test]
fn who_gives_up_passes_the_place_on() {
    check(|| {
        let world = World::new(1);
        let threads = spawn(&world, 3, |world, number| {
            let mut acquire = world.acquire(number);
            if number == 0 {
                // Looks twice at most, and goes away with a place or without.
                for _ in 0..2 {
                    let admitted = block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut acquire).poll(cx).is_ready())));
                    if admitted {
                        return;
                    }
                    switch();
                }
            } else {
                world.call(block_on(acquire).unwrap(), None);
            }
        });
        world.end(threads);
    });
}

#[test]
fn pauses_and_other_limits_leave_nobody_behind() {
    check(|| {
        let world = World::new(1);
        let threads = spawn(&world, 3, |world, number| {
            if number == 0 {
                world.admission.pause();
                world.admission.set_limits(Limits { concurrency: Some(1), ..Limits::default() }, |_| true);
                world.admission.resume();
            } else {
                world.call(block_on(world.acquire(number)).unwrap(), None);
            }
        });
        world.end(threads);
    });
}

#[test]
fn a_refused_key_refuses_everyone_who_waits() {
    check(|| {
        let world = World::new(1);
        let threads = spawn(&world, 3, |world, number| match block_on(world.acquire(number)) {
            Ok(lease) => world.call(lease, Some(&Failure::new(Kind::Auth, "no"))),
            Err(refused) => assert_eq!(refused.kind, Kind::Auth),
        });
        world.end(threads);
    });
}
