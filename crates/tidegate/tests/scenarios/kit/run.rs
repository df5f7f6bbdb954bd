//! One run of a scenario.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidegate::{Client, Limits, Request, RetryPolicy, Target};
use tokio::time::Instant;

use super::case::{Case, Workload};
use super::measure::Measured;
use super::provider::{Door, Providers};

/// Runs a scenario under paused time, with a fixed concurrency if one is given.
pub(crate) fn run(case: &Case, concurrency: Option<u32>) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(send(case, concurrency))
}

async fn send(case: &Case, concurrency: Option<u32>) -> Measured {
    let providers = Arc::new(Providers::new(case));
    let start = Instant::now();
    let clients = case.workload.clients;
    let runs = (0..clients).map(|number| {
        let door = Door { providers: providers.clone(), client: number };
        let client = client(case, concurrency, door, number);
        let later = change(case, client.clone(), start);
        let work = async move {
            let rows = (number as u64..case.workload.rows).step_by(clients);
            let mut run = client.run(rows.map(|row| request(&case.workload, row)));
            let (mut failed, mut done) = (0, Vec::new());
            while let Some((outcome, ())) = run.next().await {
                done.push(start.elapsed().as_secs_f64());
                failed += u64::from(outcome.result.is_err());
            }
            (done, failed)
        };
        // The changes that come after the end are left out.
        async move {
            tokio::pin!(work);
            tokio::select! { ends = &mut work => ends, () = later => work.await }
        }
    });
    let ends = futures_util::future::join_all(runs).await;
    let took = start.elapsed().as_secs_f64();
    let failed = ends.iter().map(|(_, failed)| failed).sum();
    let mut done: Vec<f64> = ends.into_iter().flat_map(|(done, _)| done).collect();
    done.sort_by(f64::total_cmp);
    assert_eq!(done.len() as u64, case.workload.rows, "every row has an outcome");
    let (arrived, hung) = providers.arrived();
    let log = std::mem::take(&mut *providers.log.lock().unwrap());
    Measured { log, failed, took, done, arrived, hung }
}

/// States other limits in the middle of the run.
async fn change(case: &Case, client: Client, start: Instant) {
    let later = |i: usize| case.providers[i].stated_later.iter().map(move |later| (i, later));
    let mut changes: Vec<_> = (0..case.providers.len()).flat_map(later).collect();
    changes.sort_by(|a, b| a.1.after_s.total_cmp(&b.1.after_s));
    for (i, later) in changes {
        tokio::time::sleep_until(start + Duration::from_secs_f64(later.after_s)).await;
        (0..case.providers[i].endpoints).for_each(|k| client.set_limits(&name(i, k), later.stated).unwrap());
    }
}

fn name(provider: usize, endpoint: usize) -> String {
    // A simulated call's fate depends on its model's name, too.
    if endpoint == 0 { format!("sim/m{provider}") } else { format!("sim/m{provider}-{endpoint}") }
}

fn client(case: &Case, concurrency: Option<u32>, door: Door, seed: usize) -> Client {
    let mut retry = RetryPolicy { hedge: case.workload.hedge, ..RetryPolicy::default() };
    if let Some(seconds) = case.workload.timeout_s {
        retry.timeout = Duration::from_secs_f64(seconds);
    }
    if let Some(attempts) = case.workload.attempts {
        retry.max_attempts = attempts;
    }
    let mut builder = Client::builder().transport(Arc::new(door)).retry(retry).balance(case.balance).seed(seed as u64);
    for (i, provider) in case.providers.iter().enumerate() {
        let stated = provider.stated;
        let limits = Limits { concurrency: concurrency.or(stated.concurrency), ..stated };
        for endpoint in 0..provider.endpoints {
            let target = Target::new(&name(i, endpoint)).unwrap().base_url(&format!("http://p{i}/v1"));
            let target = match provider.account {
                Some(account) => target.account(&format!("account {i}"), account),
                None => target,
            };
            builder = builder.target(target.limits(limits));
        }
    }
    builder.build().unwrap()
}

/// Makes the request of a row: lengths are spread evenly over the range, in an order that no limit can follow, or come in
/// stretches.
fn request(workload: &Workload, row: u64) -> Request {
    let [shortest, longest] = workload.prompt_bytes;
    let spread = (row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % (longest - shortest + 1);
    let mut prompt = format!("{row:08}");
    let length = match workload.stretch {
        Some(stretch) => workload.prompt_bytes[(row / stretch) as usize % 2],
        None => shortest + spread,
    };
    let length = length.max(prompt.len());
    prompt.extend(std::iter::repeat_n('x', length - prompt.len()));
    let mut request = Request::prompt(prompt);
    request.params.max_tokens = workload.max_tokens;
    request
}
