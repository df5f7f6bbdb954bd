//! Tidegate sends very many LLM requests as fast as the providers' limits allow, and loses none.

mod ask;
pub mod call;
pub mod catalog;
mod client;
mod dispatch;
mod error;
mod event;
mod failure;
mod limits;
mod money;
mod outcome;
pub mod request;
pub mod response;
pub mod run;
pub mod sim;
pub mod suggest;

pub use call::{Caller, KeySource, caller};
pub use client::{Client, ClientBuilder, Requests, Target};
pub use dispatch::RetryPolicy;
pub use dispatch::balance::Balance;
pub use error::{Error, ErrorKind, Result};
pub use event::{EndpointSnapshot, Event, Observer, Snapshot};
pub use failure::{Advice, Aside, Failure, Kind, Retry};
pub use limits::{Limit, Limits};
pub use money::{LongPrice, Money, Price};
pub use outcome::{Attempt, Outcome};
pub use request::{Message, Params, Part, Request, Role, Task, TaskKind};
pub use response::{Finish, Output, Response, Usage};
pub use run::{Item, Run};
