//! Models x regions of Bedrock with failover: a region dies in the middle of the work, and the others take over.
//!
//! Against the simulated provider in this process; the network in front of it loses us-east-1 after a while:
//! `cargo run -p tidegate --example bedrock_failover`

#![expect(clippy::print_stdout, reason = "an example")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tidegate::call::aws::{Account, Credentials};
use tidegate::call::transport::{HttpReply, HttpRequest, Transport};
use tidegate::sim::{Scenario, SimTransport};
use tidegate::{Bedrock, Client, Failure, Kind, Limits, Refresh, RegionOrder, Request, Target};

const ROWS: usize = 300;
const LOST: &str = "us-east-1";

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let network = Arc::new(Network { far: SimTransport::new(Scenario::default()), healthy: AtomicU64::new(60) });
    let bedrock = Bedrock {
        regions: [LOST, "us-west-2", "eu-west-1"].map(str::to_owned).to_vec(),
        accounts: vec![Account::new(Some("work"), Arc::new(Credentials::new("AKIAEXAMPLE", "secret", None)))],
        region_order: RegionOrder::Rotate,
        ..Bedrock::default()
    };
    let mut builder = Client::builder()
        .target(Target::new("bedrock/Claude 3.5 Haiku")?.bedrock(bedrock.clone()))
        .target(Target::new("bedrock/Nova Lite")?.bedrock(bedrock))
        .total(Limits { concurrency: Some(8), ..Limits::default() })
        .transport(network);

    // Optional: ask the control plane what the account really has, in place of the bundled table.
    let refreshed = builder.refresh(&Refresh::default()).await;
    println!("{} lists of models and profiles, {} warnings", refreshed.asked, refreshed.warnings.len());
    let found = builder.validate().await;
    println!("{} endpoints, errors: {:?}", found.combinations, found.errors);
    assert!(found.is_valid());

    let client = builder.build()?;
    for region in client.regions() {
        let info = client.access_info(&client.models()[0], &region).ok_or("no such region")?;
        let way = &info.ways[0];
        println!("  {region:<10} {:<9} {}  served in {}", way.access.to_string(), way.id, way.served_in);
    }

    let mut outcomes = client.run((0..ROWS).map(|n| Request::prompt(format!("Is {n} prime?"))));
    let (mut answered, mut moved) = (BTreeMap::<String, usize>::new(), 0);
    while let Some((outcome, ())) = outcomes.next().await {
        outcome.result?;
        let regions: Vec<_> = outcome.attempts.iter().filter_map(|a| a.endpoint.split(['@', '#']).nth(1)).collect();
        moved += usize::from(regions.windows(2).any(|pair| pair[0] != pair[1]));
        *answered.entry(regions.last().copied().unwrap_or_default().to_owned()).or_default() += 1;
    }
    println!("answered by region: {answered:?}; {moved} requests moved from one region to another");
    println!("{:?}", client.retry_stats());
    assert_eq!(answered.values().sum::<usize>(), ROWS, "no request is lost");
    assert!(moved > 0 && answered[LOST] < ROWS / 4, "the lost region answers no more");
    Ok(())
}

/// A network that loses a region after so many requests to its models.
struct Network {
    far: SimTransport,
    healthy: AtomicU64,
}

impl Transport for Network {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let there = request.uri().host().is_some_and(|host| host.starts_with("bedrock-runtime") && host.contains(LOST));
        let lost =
            there && self.healthy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err();
        match lost {
            true => Box::pin(std::future::ready(Err(Failure::new(Kind::Connect, format!("{LOST} does not answer"))))),
            false => self.far.send(request),
        }
    }
}
