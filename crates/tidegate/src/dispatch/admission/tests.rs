//! The queue as its callers meet it: order, wake-ups, and that no place is lost whatever happens when.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Acquire, Admission, Ask, CLASS, Lease, Rank, RouteId, Urgency};
use crate::call::limits::Hints;
use crate::client::{Client, Target};
use crate::dispatch::balance::{Balance, Labels};
use crate::failure::{Failure, Kind};
use crate::limits::Limits;
use crate::response::Response;

const MS: Duration = Duration::from_millis(1);
const URGENT: Urgency = Urgency { priority: 0, deadline: None };

/// Makes the admission of a client with endpoints of those limits.
pub(super) fn admission(endpoints: &[Limits]) -> Arc<Admission> {
    let targets = endpoints.iter().enumerate().map(|(i, limits)| {
        let caller = crate::caller(|_| async { Ok(Response::text("ok")) });
        Target::caller(&format!("m{i}"), caller).limits(*limits)
    });
    let builder = targets.fold(Client::builder().balance(Balance::WaterFill), crate::ClientBuilder::target);
    builder.build().unwrap().dispatcher.admission.clone()
}

pub(super) fn concurrency(most: u32) -> Limits {
    Limits { concurrency: Some(most), ..Limits::default() }
}

pub(super) fn ask(admission: &Admission, route: RouteId, urgency: Urgency) -> Ask {
    Ask {
        route,
        rank: admission.rank(Instant::now(), urgency),
        priority: urgency.priority,
        deadline: urgency.deadline,
        labels: Labels::default(),
        bytes: 40,
        max_tokens: None,
        tried: Vec::new(),
    }
}

fn poll(acquire: &mut Acquire, waker: &Waker) -> Option<Lease> {
    match std::pin::Pin::new(acquire).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(lease) => Some(lease.unwrap()),
        Poll::Pending => None,
    }
}

/// Counts how often it is woken, and by whom.
struct Woken {
    number: usize,
    all: Arc<Mutex<VecDeque<usize>>>,
    wakes: Arc<AtomicUsize>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.all.lock().unwrap().push_back(self.number);
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets everyone wait behind one lease and returns in which order they were admitted, and how often any was woken.
fn admitted(urgencies: &[Urgency]) -> (Vec<usize>, usize) {
    let admission = admission(&[concurrency(1)]);
    let route = admission.route(&["m0".into(), "m1".into()]);
    let (all, wakes) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let first = poll(&mut admission.acquire(ask(&admission, route, URGENT)), Waker::noop());
    let wait = |(number, urgency): (usize, &Urgency)| {
        let woken = Woken { number, all: Arc::clone(&all), wakes: wakes.clone() };
        let (mut acquire, waker) = (admission.acquire(ask(&admission, route, *urgency)), Waker::from(Arc::new(woken)));
        assert!(poll(&mut acquire, &waker).is_none());
        (acquire, waker)
    };
    let mut waiters: Vec<_> = urgencies.iter().enumerate().map(wait).collect();
    let mut order = Vec::new();
    drop(first);
    while let Some(number) = { all.lock().unwrap().pop_front() } {
        let (acquire, waker) = &mut waiters[number];
        if let Some(lease) = poll(acquire, waker) {
            order.push(number);
            lease.settle(None, None, &Hints::default());
        }
    }
    (order, wakes.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn classes_come_first_then_deadlines_then_arrival() {
    let deadline = |seconds| Some(Instant::now() + Duration::from_secs(seconds));
    let urgencies = [
        Urgency { priority: 1, deadline: None },
        Urgency { priority: 1, deadline: None },
        Urgency { priority: 0, deadline: None },
        Urgency { priority: 0, deadline: deadline(90) },
        Urgency { priority: 0, deadline: deadline(30) },
        Urgency { priority: 1, deadline: deadline(5) },
    ];
    assert_eq!(admitted(&urgencies).0, [4, 3, 2, 5, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_woken_for_somebody_else() {
    const WAITERS: usize = 10_000;
    let urgencies: Vec<_> = (0..WAITERS).map(|i| Urgency { priority: (i % 10) as u8, deadline: None }).collect();
    let (order, wakes) = admitted(&urgencies);
    assert_eq!(order.len(), WAITERS);
    assert!(order.iter().map(|number| number % 10).is_sorted(), "class after class");
    assert_eq!(wakes, WAITERS, "one wake-up for each");
}

#[test]
fn a_class_is_worth_ten_minutes_so_that_nobody_starves() {
    let arrived = Instant::now();
    let background = Rank::new(arrived, 1, Urgency { priority: 3, deadline: None });
    let urgent = |later: Duration| Rank::new(arrived + later, 2, Urgency { priority: 0, deadline: None });
    assert!(urgent(CLASS * 3 - MS) < background);
    assert!(urgent(CLASS * 3 + MS) > background);
    let soon =
        |later: Duration| Rank::new(arrived + later, 2, Urgency { priority: 0, deadline: Some(arrived + later) });
    assert!(soon(CLASS * 4 + MS) > background, "a deadline adds one class at most");
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_admitted_only_where_nobody_waits() {
    let admission = admission(&[concurrency(1), concurrency(1)]);
    let (all, first) = (admission.route(&["m0".into(), "m1".into()]), admission.route(&["m0".into()]));
    let held = admission.try_admit(&ask(&admission, first, URGENT)).unwrap();
    assert!(admission.try_admit(&ask(&admission, first, URGENT)).is_none(), "full");
    let copy = admission.try_admit(&Ask { tried: vec![0], ..ask(&admission, all, URGENT) }).unwrap();
    assert_eq!(copy.place, 1, "elsewhere");
    let mut waiter = admission.acquire(ask(&admission, all, URGENT));
    assert!(poll(&mut waiter, Waker::noop()).is_none());
    copy.withdraw();
    assert!(admission.try_admit(&ask(&admission, all, URGENT)).is_none(), "that place is the waiter's");
    assert_eq!(poll(&mut waiter, Waker::noop()).map(|lease| lease.place), Some(1));
    drop(held);
    assert_eq!(admission.snapshot().endpoints.iter().map(|endpoint| endpoint.in_flight).sum::<usize>(), 0);
}

/// Something that happens to the queue.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody comes, to one of the routes.
    Come { route: usize, priority: u8 },
    /// One of those who wait or were just admitted leaves.
    Leave(usize),
    /// A call ends.
    End { lease: usize, how: How },
    /// A copy is wanted.
    Copy { route: usize },
    /// Time passes.
    Pass(u64),
}

#[derive(Debug, Clone, Copy)]
enum How {
    Answered,
    Rejected,
    Failed,
    Dropped,
    Unsent,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        4 => Just(How::Answered),
        1 => Just(How::Rejected),
        1 => Just(How::Failed),
        1 => Just(How::Dropped),
        1 => Just(How::Unsent),
    ];
    prop_oneof![
        4 => (0..3_usize, 0..3_u8).prop_map(|(route, priority)| Step::Come { route, priority }),
        1 => any::<usize>().prop_map(Step::Leave),
        4 => (any::<usize>(), how).prop_map(|(lease, how)| Step::End { lease, how }),
        1 => (0..3_usize).prop_map(|route| Step::Copy { route }),
        1 => (1..2000_u64).prop_map(Step::Pass),
    ]
}

fn end(lease: Lease, how: How) {
    let failed = |kind| Failure::new(kind, "no").with_retry_after(None);
    let settle = |lease: Lease, failure: Option<&Failure>| _ = lease.settle(None, failure, &Hints::default());
    match how {
        How::Answered => settle(lease, None),
        How::Rejected => settle(lease, Some(&failed(Kind::RateLimited))),
        How::Failed => settle(lease, Some(&failed(Kind::ServerError))),
        How::Dropped => drop(lease),
        How::Unsent => lease.withdraw(),
    }
}

/// Does all that, then lets every call end; everybody who has not left must be admitted, by wake-ups alone.
#[expect(clippy::disallowed_methods, reason = "tasks are polled only when they are woken, which is what is tested")]
async fn nothing_is_lost(steps: Vec<Step>) {
    let rated = Limits { rpm: Some(600.0), concurrency: Some(2), ..Limits::default() };
    let admission = admission(&[concurrency(2), rated]);
    let routes = [
        admission.route(&["m0".into(), "m1".into()]),
        admission.route(&["m0".into()]),
        admission.route(&["m1".into()]),
    ];
    let (sender, mut admitted) = mpsc::unbounded_channel();
    let (mut waiting, mut leases) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Come { route, priority } => {
                let ask = ask(&admission, routes[route], Urgency { priority, deadline: None });
                let (acquire, sender) = (admission.acquire(ask), sender.clone());
                waiting.push(tokio::spawn(async move { sender.send(acquire.await.unwrap()) }));
            }
            Step::Leave(who) if !waiting.is_empty() => {
                let who = who % waiting.len();
                waiting.swap_remove(who).abort();
            }
            Step::End { lease, how } if !leases.is_empty() => {
                let lease = lease % leases.len();
                end(leases.swap_remove(lease), how);
            }
            Step::Copy { route } => leases.extend(admission.try_admit(&ask(&admission, routes[route], URGENT))),
            Step::Pass(time) => tokio::time::sleep(Duration::from_millis(time)).await,
            Step::Leave(_) | Step::End { .. } => tokio::task::yield_now().await,
        }
        while let Ok(lease) = admitted.try_recv() {
            leases.push(lease);
        }
    }
    drop((sender, leases));
    let all = async { while admitted.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(3600), all).await.expect("everybody who waits is admitted");
    let left = admission.snapshot();
    assert_eq!(left.waiting, 0);
    assert!(left.endpoints.iter().all(|endpoint| endpoint.in_flight == 0), "every place is free again");
}

/// Wakes a thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread; a waiter that nobody wakes is not polled again.
fn wait(mut acquire: Acquire) -> Lease {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        match poll(&mut acquire, &waker) {
            Some(lease) => return lease,
            None => std::thread::park_timeout(give_up.duration_since(Instant::now())),
        }
        assert!(Instant::now() < give_up, "a wake-up was lost");
    }
}

#[test]
fn threads_share_the_places_and_wake_each_other() {
    const THREADS: usize = 8;
    let admission = admission(&[concurrency(2)]);
    let route = admission.route(&["m0".into()]);
    let (in_flight, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = &|thread: usize| {
        for turn in 0..500 {
            let mut acquire = admission.acquire(ask(&admission, route, URGENT));
            if (thread + turn).is_multiple_of(5) {
                // Leaves the queue, or gives back what it was admitted to at once.
                drop(poll(&mut acquire, Waker::noop()));
                continue;
            }
            let lease = wait(acquire);
            most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            in_flight.fetch_sub(1, Ordering::SeqCst);
            end(lease, if turn % 3 == 0 { How::Dropped } else { How::Answered });
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|thread| drop(scope.spawn(move || work(thread)))));
    assert_eq!(most.into_inner(), 2, "as many as may, and never more");
    let left = admission.snapshot();
    assert_eq!((left.waiting, left.endpoints[0].in_flight), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_place_is_leaked_and_no_wake_up_is_lost(steps in prop::collection::vec(step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(nothing_is_lost(steps));
    }
}
