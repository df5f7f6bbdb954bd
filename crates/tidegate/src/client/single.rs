//! Sending one request on its own, outside of any run.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Client;
use crate::ask::policy::AskPolicy;
use crate::ask::{Begun, ask};
use crate::call::caller::Tries;
use crate::dispatch::admission::Urgency;
use crate::dispatch::balance::Labels;
use crate::dispatch::retries::Retries;
use crate::dispatch::streaming::Outlet;
use crate::dispatch::{Order, RetryPolicy};
use crate::event::ItemRef;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::run::Item;

/// How a request is to be treated among others.
#[derive(Debug, Default)]
struct Wish<'a> {
    priority: u8,
    deadline: Option<Duration>,
    labels: Option<&'a Labels>,
    retry: Option<&'a RetryPolicy>,
    outlet: Option<&'a Outlet>,
    models: &'a [Arc<str>],
    regions: &'a [String],
}

impl Client {
    /// Sends one request that has a priority, a deadline, labels, models or regions of its own, with all retries.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate::{Client, Item, Request, Target};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidegate::Result<()> {
    /// let client = Client::builder().target(Target::new("sim/echo")?).build()?;
    /// let item = Item::from(Request::prompt("Is anybody there?")).priority(0).deadline(Duration::from_secs(20));
    /// assert!(client.send_item(&item).await.result.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call and sends nothing more.
    pub async fn send_item<C>(&self, item: &Item<C>) -> Outcome {
        let (priority, deadline, labels) = (item.priority, item.deadline, Some(&item.labels));
        let (models, regions, retry) = (&item.models, &item.regions, item.retry.as_deref());
        let wish = Wish { priority, deadline, labels, retry, outlet: None, models, regions };
        let outcome = self.send_one(&item.request, wish, &self.ask_policy).await;
        Outcome { id: item.id.clone(), ..outcome }
    }

    /// Sends one request that demands this of its answer.
    pub(crate) async fn send_with(&self, request: &Request, policy: &AskPolicy) -> Outcome {
        self.send_one(request, Wish::default(), policy).await
    }

    /// Sends one request and puts the pieces of its reply there. What is demanded of answers is not checked: they are
    /// told before they are whole.
    pub(super) async fn stream_into(&self, request: &Request, outlet: &Outlet) -> Outcome {
        let plain = AskPolicy::default();
        let wish = Wish { outlet: Some(outlet), ..Wish::default() };
        self.send_one(request, wish, &plain).await
    }

    async fn send_one(&self, request: &Request, wish: Wish<'_>, policy: &AskPolicy) -> Outcome {
        let (stop, retries, none) = (CancellationToken::new(), Retries::default(), Labels::default());
        let tries = Tries::default();
        let retry = wish.retry.unwrap_or(&self.dispatcher.retry);
        let request = self.filled_in(request);
        let order = Order {
            request: &request,
            route: self.route_in(wish.models, wish.regions),
            regions: wish.regions,
            stop: &stop,
            retry,
            urgency: Urgency::new(wish.priority, wish.deadline.or(retry.deadline)),
            labels: wish.labels.unwrap_or(&none),
            retries: &retries,
            purse: None,
            item: ItemRef::default(),
            tries: &tries,
            warmth: None,
            outlet: wish.outlet,
        };
        ask(&self.dispatcher, policy, self.answers.as_ref(), &order, 0, &mut Begun::default(), ()).await
    }
}
