//! What every request of a run is asked with, and the run's hooks around one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::fallback::Fallback;
use super::hooks::Hooks;
use super::item::{Item, Place};
use crate::ask::ask;
use crate::ask::cache::Answers;
use crate::ask::policy::AskPolicy;
use crate::call::caller::Tries;
use crate::client::Client;
use crate::dispatch::balance::Labels;
use crate::dispatch::budget::Purse;
use crate::dispatch::retries::Retries;
use crate::dispatch::{Order, RetryPolicy};
use crate::event::{Event, ItemRef};
use crate::outcome::Outcome;
use crate::request::Request;

/// The client and all that the run says about how it is asked.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) client: Client,
    /// The run's number among the client's.
    pub(super) run: u64,
    pub(super) regions: Vec<String>,
    pub(super) stop: CancellationToken,
    pub(super) retry: RetryPolicy,
    pub(super) purse: Option<Arc<Purse>>,
    pub(super) fallback: Option<Fallback>,
    pub(super) retries: Arc<Retries>,
    pub(super) policy: Arc<AskPolicy>,
    pub(super) answers: Option<Answers>,
}

impl Asker {
    /// Asks as the client does.
    pub(super) fn of(client: Client, run: u64) -> Asker {
        Asker {
            run,
            regions: Vec::new(),
            retry: client.dispatcher.retry,
            policy: client.ask_policy.clone(),
            answers: client.answers.clone(),
            purse: None,
            fallback: None,
            retries: Arc::default(),
            stop: CancellationToken::new(),
            client,
        }
    }

    /// Asks until there is an answer or no sense in asking on; `admitted` is dropped when the first call is admitted.
    pub(super) async fn ask<G>(&self, place: &Place, request: &Request, labels: &Labels, admitted: G) -> Outcome {
        let tries = Tries::default();
        let order = self.order(place, (request, labels), &tries);
        ask(&self.client.dispatcher, &self.policy, self.answers.as_ref(), order, place.index, admitted).await
    }

    /// Asks with the run's hooks around it.
    pub(super) async fn ask_within<C, G>(
        &self,
        mut place: Place,
        hooks: &Hooks<C>,
        mut item: Item<C>,
        admitted: G,
    ) -> (Outcome, C) {
        let (passed, early) = hooks.before(&mut item).await;
        let mut outcome = match early {
            Some(result) => self.skip(Outcome::new(place.index, result, Vec::new())),
            None => {
                if !item.models.is_empty() {
                    place.route = self.client.route_in(&item.models, &self.regions);
                }
                self.ask(&place, &item.request, &item.labels, admitted).await
            }
        };
        if let Err(failure) = &outcome.result
            && let Some(response) = hooks.on_error(passed, &mut item, failure).await
        {
            outcome.result = Ok(response);
        }
        let mut outcome = self.with_fallback(outcome, &item.request);
        outcome.id = item.id.clone();
        hooks.after(passed, &mut item, &mut outcome).await;
        (outcome, item.context)
    }

    /// Tells of an item that nobody was asked for.
    fn skip(&self, outcome: Outcome) -> Outcome {
        let item = ItemRef { run: self.run, index: outcome.index };
        self.client.dispatcher.follow(|| Event::ItemStarted { item });
        self.client.dispatcher.follow(|| Event::ended(item, &outcome));
        outcome
    }

    /// Puts the last resort in the place of an answer that is not to be had.
    pub(super) fn with_fallback(&self, mut outcome: Outcome, request: &Request) -> Outcome {
        if let (Some(fallback), Err(failure)) = (&self.fallback, &outcome.result) {
            outcome.fallback = fallback.answer(request, failure);
        }
        outcome
    }

    /// Returns the order for a request.
    fn order<'a>(
        &'a self,
        place: &'a Place,
        (request, labels): (&'a Request, &'a Labels),
        tries: &'a Tries,
    ) -> Order<'a> {
        Order {
            request,
            route: place.route,
            regions: &self.regions,
            stop: &self.stop,
            retry: place.retry.as_deref().unwrap_or(&self.retry),
            urgency: place.urgency,
            labels,
            retries: &self.retries,
            purse: self.purse.as_deref(),
            item: ItemRef { run: self.run, index: place.index },
            tries,
            outlet: None,
        }
    }
}
