//! Tidegate sends very many LLM requests as fast as the providers' limits allow, and loses none.
//!
//! A [`Client`] holds the models and everything that is shared by those who send: limits, connections, what was learned
//! from the replies. A [`Request`] goes in, an [`Outcome`] comes out, and what lies between is the client's business:
//! waiting until a limit has room, trying again, going to another endpoint, counting tokens and money.
//!
//! ```
//! use futures_util::StreamExt;
//! use tidegate::run::summary::Tally;
//! use tidegate::{Client, Request, Target};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidegate::Result<()> {
//! // `sim/…` is a provider inside this process; "openai/gpt-5-mini" with `.key(…)` is a real one.
//! let client = Client::builder().target(Target::new("sim/echo")?).build()?;
//!
//! let outcome = client.send(&Request::prompt("Why is the sky blue?").max_tokens(60)).await;
//! assert!(outcome.text().unwrap().ends_with("Why is the sky blue?"));
//!
//! let requests = (0..100).map(|n| Request::prompt(format!("Is {n} a prime number?")));
//! let mut outcomes = client.run(requests);
//! let mut tally = Tally::default();
//! while let Some((outcome, ())) = outcomes.next().await {
//!     tally.add(&(&outcome).into());
//! }
//! assert_eq!((tally.succeeded, tally.failed), (100, 0));
//! # Ok(())
//! # }
//! ```
//!
//! # How one item flows
//!
//! [`Client::run`] takes a request from its source only when a place for it is near, so that the source may be endless.
//! The request waits for admission: each [`Target`] and key is an endpoint with [`Limits`] of its own, stated by you or
//! learned from the replies, and [`Balance`] picks among those that have room. The call is one exchange on the wire. If it
//! fails, its [`Kind`] decides what comes next, by [one table](Kind::advice): again here, elsewhere, or never. A "429, wait
//! 3 s" pauses the endpoint for everybody and costs the request none of its attempts. In the end there is exactly one
//! [`Outcome`] for every request, with every [`Attempt`] that was made for it; a failure is data in it, never an `Err` of
//! the run.
//!
//! The library starts no runtime, reads no environment variable, installs no handler and logs only through `tracing`.
//! Dropping a future or a run cancels its calls.
//!
//! # Context, and a stop
//!
//! Whatever is given along with a request comes back with its outcome. A cancelled token ends the intake; calls in flight
//! are finished, and what was still waiting comes out as [`Kind::Cancelled`].
//!
//! ```
//! use futures_util::{StreamExt, stream};
//! use tidegate::{Client, Item, Kind, Request, Target};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidegate::Result<()> {
//! # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
//! let stop = CancellationToken::new();
//! let rows = stream::iter(1_u64..).map(|row| Item::new(Request::prompt(format!("row {row}")), row));
//! let mut run = client.run_items(rows).stop_on(stop.clone());
//! let mut answered = 0;
//! while let Some((outcome, row)) = run.next().await {
//!     match outcome.result {
//!         Ok(_) => answered += 1,
//!         Err(failure) if failure.kind == Kind::Cancelled => {} // Row {row} was not sent.
//!         Err(failure) => eprintln!("row {row}: {failure}"),
//!     }
//!     if answered == 20 {
//!         stop.cancel(); // The rows have no end, but the run has one now.
//!     }
//! }
//! assert!(answered >= 20);
//! # Ok(())
//! # }
//! ```
//!
//! # A client of your own in place of HTTP
//!
//! A [`Caller`] makes the call; limits, retries and the rest stay as they are. [`caller`] makes one of a closure.
//!
//! ```
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//! use tidegate::{Client, Failure, Request, Response, Target};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> tidegate::Result<()> {
//! let busy = AtomicBool::new(true);
//! let mine = tidegate::caller(move |_request: Request| {
//!     let refused = busy.swap(false, Ordering::Relaxed);
//!     async move {
//!         if refused {
//!             return Err(Failure::rate_limited(Duration::from_secs(3))); // "429, wait 3 s"
//!         }
//!         Ok(Response::text("low tide"))
//!     }
//! });
//! let client = Client::builder().target(Target::caller("mine", mine)).build()?;
//! let outcome = client.send(&Request::prompt("What is the tide?")).await;
//! assert_eq!(outcome.text(), Ok("low tide"));
//! assert_eq!(outcome.attempts.len(), 2);
//! assert!(outcome.attempts[1].waited >= Duration::from_secs(3));
//! # Ok(())
//! # }
//! ```
//!
//! # A file of prompts
//!
//! A [`Job`](run::job::Job) is what the command line program runs: input files, a journal, a result file, and the same job
//! again goes on where it was.
//!
//! ```
//! use tidegate::run::job::{Control, Job};
//! use tidegate::{Client, Target};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (rows, out) = (folder.path().join("rows.csv"), folder.path().join("out.jsonl"));
//! # std::fs::write(&rows, "id,name\n1,Ebb\n2,Flow\n")?;
//! # let client = Client::builder().target(Target::new("sim/echo")?).build()?;
//! let mut job = Job { out: Some(out.clone()), ..Job::default() };
//! job.input.paths = vec![rows.display().to_string()];
//! job.prompt.template = Some(("What is {{ name }}?".to_owned(), "prompt".to_owned()));
//! let summary = job.run(&client, &Control::default()).await?;
//! assert_eq!((summary.succeeded, summary.failed), (2, 0));
//! assert_eq!(job.run(&client, &Control::default()).await?.done_before, 2);
//! # Ok(())
//! # }
//! ```

mod ask;
#[cfg(feature = "blocking")]
pub mod blocking;
pub mod call;
pub mod catalog;
mod client;
mod dispatch;
mod error;
mod event;
mod failure;
mod future;
mod json;
mod limits;
mod money;
mod outcome;
pub mod request;
pub mod response;
pub mod run;
mod schema;
pub mod sim;
pub mod suggest;

#[cfg(feature = "cache")]
pub use ask::cache::{Cache, CacheOptions};
pub use ask::check::Check;
pub use ask::policy::{AskPolicy, Rung};
#[cfg(feature = "schemars")]
pub use ask::typed::{Typed, Unanswered};
pub use call::context_cache::ContextCacheOptions;
pub use call::prompt_cache::PromptCache;
pub use call::vertex::Vertex;
pub use call::{Caller, ItemState, KeySource, Preview, Try, caller, strategy};
pub use client::{
    AccessInfo, Bedrock, CallPool, CheckedAccount, CheckedModel, CheckedRegion, Client, ClientBuilder, PoolError,
    PoolLimits, Refresh, Refreshed, RegionOrder, Requests, Streaming, Target, Validation, Way,
};
pub use dispatch::RetryPolicy;
pub use dispatch::balance::{Ask, Balance, Candidate, Labels, Policy};
pub use dispatch::tried::RetryStats;
pub use error::{Error, ErrorKind, Result};
pub use event::{Ended, EndpointSnapshot, Event, ItemEnded, ItemRef, Observer, Snapshot};
pub use failure::{Advice, Aside, Diagnosis, Failure, Kind, Retry};
pub use limits::{Limit, Limits, Pace, Pacing, Ramp, SlowStart};
pub use money::{Budget, LongPrice, Money, Price, Spend, Tiers};
pub use outcome::{Attempt, Checked, Fault, Outcome};
pub use request::{
    CachePoint, GuardContent, Media, MediaKind, Message, Params, Part, Reasoning, Request, Role, Source, Task,
    TaskKind, ToolResult, ToolUse,
};
pub use response::{Delta, Finish, Output, Response, Tier, Usage};
pub use run::batch::Batch;
pub use run::prompt::Template;
pub use run::{Dedupe, Item, Middleware, Run, RunProgress, StopOn};
pub use schema::Schema;

/// Compiles and runs the code of the page about the simulated provider.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/simulator.md")]
struct SimulatorPage;

/// Compiles and runs the code of the pages for those who come from another system.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/coming-from.md")]
struct ComingFrom;
