//! What an answer from the cache costs, among a million of them: a whole `send` whose answer is found on disk.
//!
//!     cargo bench -p tidegate --features cache --bench cache -- --answers 1000000
//!
//! It writes some 3 GB into a temporary folder, and prints the median and the slow ends of 200,000 random hits after as
//! many to warm up.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::{Cache, CacheOptions, Client, Request, Response, Target};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many hits are measured.
const HITS: usize = 200_000;

fn request(number: u64) -> Request {
    Request::prompt(format!("What is the number {number} good for?"))
}

/// Returns a client whose model answers with 100 to 2000 bytes, and the count of its calls.
fn client(cache: Cache) -> Result<(Client, Arc<AtomicU64>)> {
    let calls = Arc::<AtomicU64>::default();
    let count = calls.clone();
    let caller = tidegate::caller(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move { Ok(Response::text("x".repeat(100 + (number * 7919 % 1900) as usize))) }
    });
    Ok((Client::builder().target(Target::caller("m", caller)).cache(cache).build()?, calls))
}

/// Asks for every answer until all of them are stored: a cache that cannot keep up drops some.
async fn fill(client: &Client, calls: &AtomicU64, answers: u64) {
    while calls.swap(0, Ordering::Relaxed) > 0 {
        for number in 0..answers {
            client.send(&request(number)).await;
        }
    }
}

/// Asks for answers at random, and returns how long each took.
async fn hit(client: &Client, answers: u64, random: &mut fastrand::Rng) -> Vec<Duration> {
    let mut times = Vec::with_capacity(HITS);
    for _ in 0..HITS {
        let request = request(random.u64(0..answers));
        let begun = Instant::now();
        client.send(&request).await;
        times.push(begun.elapsed());
    }
    times
}

#[expect(clippy::print_stdout, reason = "the result is what the program is for")]
fn main() -> Result<()> {
    let Some(answers) = std::env::args().skip_while(|word| word != "--answers").nth(1) else {
        return Ok(()); // `cargo bench` without arguments runs every bench; this one needs room and time.
    };
    let answers: u64 = answers.parse()?;
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = CacheOptions { max_bytes: u64::MAX, ..CacheOptions::default() };
    let (client, calls) = client(Cache::open(folder.path(), options)?)?;
    calls.store(1, Ordering::Relaxed);
    runtime.block_on(fill(&client, &calls, answers));
    let mut random = fastrand::Rng::with_seed(7);
    runtime.block_on(hit(&client, answers, &mut random));
    let mut times = runtime.block_on(hit(&client, answers, &mut random));
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100];
    println!("a hit among {answers} answers: median {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99));
    match calls.load(Ordering::Relaxed) {
        0 => Ok(()),
        missed => Err(format!("{missed} answers were not found").into()),
    }
}
