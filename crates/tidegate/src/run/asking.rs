//! One item on its way through a run: what it takes along, and its hooks around it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Item;
use super::fallback::Fallback;
use super::hooks::Hooks;
use crate::ask::ask;
use crate::ask::cache::Answers;
use crate::ask::policy::AskPolicy;
use crate::call::caller::Tries;
use crate::client::Client;
use crate::dispatch::admission::{RouteId, Urgency};
use crate::dispatch::balance::Labels;
use crate::dispatch::budget::Purse;
use crate::dispatch::retries::Retries;
use crate::dispatch::{Order, RetryPolicy};
use crate::event::{Event, ItemRef};
use crate::outcome::Outcome;
use crate::request::Request;

/// What an item takes along of its run.
pub(super) struct Asking {
    pub(super) client: Client,
    pub(super) route: RouteId,
    pub(super) regions: Arc<[String]>,
    pub(super) stop: CancellationToken,
    pub(super) item: ItemRef,
    pub(super) retry: RetryPolicy,
    pub(super) urgency: Urgency,
    pub(super) purse: Option<Arc<Purse>>,
    pub(super) fallback: Option<Fallback>,
    pub(super) retries: Arc<Retries>,
    pub(super) policy: Arc<AskPolicy>,
    pub(super) answers: Option<Answers>,
}

impl Asking {
    /// Asks until there is an answer or no sense in asking on.
    pub(super) async fn ask<G>(&self, request: &Request, labels: &Labels, admitted: G) -> Outcome {
        let tries = Tries::default();
        let order = Order {
            request,
            route: self.route,
            regions: &self.regions,
            stop: &self.stop,
            retry: self.retry,
            urgency: self.urgency,
            labels,
            retries: &self.retries,
            purse: self.purse.as_deref(),
            item: self.item,
            tries: &tries,
            outlet: None,
        };
        ask(&self.client.dispatcher, &self.policy, self.answers.as_ref(), order, self.item.index, admitted).await
    }

    /// Puts the last resort in the place of an answer that is not to be had.
    pub(super) fn fall_back(&self, request: &Request, outcome: &mut Outcome) {
        if let (Some(fallback), Err(failure)) = (&self.fallback, &outcome.result) {
            outcome.fallback = fallback.answer(request, failure);
        }
    }

    /// Asks with the run's hooks around it.
    pub(super) async fn ask_within<C, G>(mut self, hooks: &Hooks<C>, mut item: Item<C>, admitted: G) -> (Outcome, C) {
        let (passed, early) = hooks.before(&mut item).await;
        let mut outcome = match early {
            Some(result) => self.skip(Outcome::new(self.item.index, result, Vec::new())),
            None => {
                if !item.models.is_empty() {
                    self.route = self.client.route_in(&item.models, &self.regions);
                }
                self.ask(&item.request, &item.labels, admitted).await
            }
        };
        if let Err(failure) = &outcome.result
            && let Some(response) = hooks.on_error(passed, &mut item, failure).await
        {
            outcome.result = Ok(response);
        }
        self.fall_back(&item.request, &mut outcome);
        outcome.id = item.id.clone();
        hooks.after(passed, &mut item, &mut outcome).await;
        (outcome, item.context)
    }

    /// Tells of an item that nobody was asked for.
    fn skip(&self, outcome: Outcome) -> Outcome {
        let item = self.item;
        self.client.dispatcher.follow(|| Event::ItemStarted { item });
        self.client.dispatcher.follow(|| Event::ended(item, &outcome));
        outcome
    }
}
