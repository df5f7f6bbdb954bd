//! A client that many callers share, with an end to what may pile up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tidegate::sim::Mock;
use tidegate::{CallPool, Client, Item, PoolError, PoolLimits, Request, Response, Target};
use tokio::time::Instant;

const S: Duration = Duration::from_secs(1);

fn item() -> Item<()> {
    Item::from(Request::prompt("?"))
}

#[tokio::test(start_paused = true)]
async fn it_refuses_at_once_what_it_cannot_take_on() {
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(S));
    let client = Client::builder().target(Target::caller("m", mock.clone())).build().unwrap();
    let pool = CallPool::new(client, PoolLimits { parallel: 2, pending: 3, submit_timeout: None });
    let (start, item) = (Instant::now(), item());
    let results = join_all((0..7).map(|_| async { (pool.submit(&item).await, start.elapsed()) })).await;
    let refused: Vec<_> = results.iter().filter_map(|(result, at)| Some((result.as_ref().err()?, *at))).collect();
    assert_eq!(
        refused,
        [(&PoolError::Full { waiting: 5 }, Duration::ZERO), (&PoolError::Full { waiting: 5 }, Duration::ZERO)]
    );
    assert_eq!((mock.calls(), mock.most_in_flight(), start.elapsed()), (5, 2, 3 * S));
    assert_eq!(pool.waiting(), 0);
    assert!(pool.submit(&item).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waited_long_enough_is_alone_with_that() {
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(2 * S));
    let client = Client::builder().target(Target::caller("m", mock.clone())).build().unwrap();
    let pool = CallPool::new(client, PoolLimits { parallel: 1, pending: 9, submit_timeout: Some(3 * S) });
    let item = item();
    let results = join_all((0..3).map(|_| pool.submit(&item))).await;
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err(), &PoolError::TimedOut { after: 3 * S });
    assert_eq!(results[2].as_ref().unwrap_err(), &PoolError::TimedOut { after: 3 * S });
    assert!(pool.submit(&item).await.is_ok(), "their places are free");
}

#[tokio::test(start_paused = true)]
async fn closing_lets_everything_end_that_was_taken() {
    let mock = Arc::new(Mock::new(|_| Response::text("ok")).latency(S));
    let client = Client::builder().target(Target::caller("m", mock.clone())).build().unwrap();
    let pool = CallPool::new(client, PoolLimits { parallel: 2, ..PoolLimits::default() });
    let (start, item) = (Instant::now(), item());
    let work = join_all((0..6).map(|_| pool.submit(&item)));
    let close = async {
        tokio::time::sleep(S / 2).await;
        pool.close().await;
        assert_eq!(pool.submit(&item).await.unwrap_err(), PoolError::Closed);
        start.elapsed()
    };
    let (results, closed) = tokio::join!(work, close);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(closed, 3 * S);
    pool.close().await;
}
