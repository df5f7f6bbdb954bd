//! What every request of a run is asked with.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fallback::Fallback;
use super::item::{Answered, Member, Place};
use super::pack::Room;
use crate::ask::ask;
use crate::ask::cache::Answers;
use crate::ask::policy::AskPolicy;
use crate::call::caller::Tries;
use crate::client::Client;
use crate::dispatch::admission::RouteId;
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

    /// Asks one request until it has its outcome; `admitted` is dropped when its first call is admitted.
    pub(super) async fn ask<C, G>(&self, mut member: Box<Member<C>>, admitted: G) -> Answered<C> {
        let (tries, begun) = (Tries::default(), &mut member.begun);
        let (answers, index) = (self.answers.as_ref(), member.place.index);
        let order = self.order(&member.place, (&member.request, &member.labels), &tries);
        let mut outcome = ask(&self.client.dispatcher, &self.policy, answers, &order, index, begun, admitted).await;
        self.fall_back(&mut outcome, &member.request);
        (outcome, member.keep())
    }

    /// Tells of an item that did not go through [`ask`] by itself.
    pub(super) fn tell(&self, outcome: &Outcome) {
        let item = ItemRef { run: self.run, index: outcome.index };
        self.client.dispatcher.follow(|| Event::ItemStarted { item });
        self.client.dispatcher.follow(|| Event::ended(item, outcome));
    }

    /// Puts the last resort in the place of an answer that is not to be had.
    pub(super) fn fall_back(&self, outcome: &mut Outcome, request: &Request) {
        if let (Some(fallback), Err(failure)) = (&self.fallback, &outcome.result) {
            outcome.fallback = fallback.answer(request, failure);
        }
    }

    /// Returns what tells the prefix of a request, that the model asked first is to keep, from others.
    pub(super) fn prefix(&self, request: &Request, route: RouteId) -> Option<u64> {
        let dispatcher = &self.client.dispatcher;
        let first = self.policy.ladder.first().and_then(|rung| rung.model.clone());
        let model = first.or_else(|| dispatcher.models(route).into_iter().next())?;
        let prefix = dispatcher.endpoint(&model)?.caller.prefix(request)?;
        Some(xxh3_64_with_seed(model.as_bytes(), prefix))
    }

    /// Returns what the models of a route leave room for, at the first try.
    pub(super) fn room(&self, route: RouteId) -> Room {
        let first = self.policy.ladder.first();
        let dispatcher = &self.client.dispatcher;
        let models = match first.and_then(|rung| rung.model.clone()) {
            Some(model) => vec![model],
            None => dispatcher.models(route),
        };
        let endpoints = || models.iter().filter_map(|model| dispatcher.endpoint(model));
        Room {
            input: endpoints().filter_map(|endpoint| endpoint.max_input).min(),
            output: endpoints().filter_map(|endpoint| endpoint.max_output).min(),
            max_tokens: first.and_then(|rung| rung.params.max_tokens),
        }
    }

    /// Returns the route over these models in an item's own regions, or the run's.
    pub(super) fn route(&self, models: &[Arc<str>], regions: Option<&[String]>) -> RouteId {
        self.client.route_in(models, regions.unwrap_or(&self.regions))
    }

    /// Returns the order for a request.
    pub(super) fn order<'a>(
        &'a self,
        place: &'a Place,
        (request, labels): (&'a Request, &'a Labels),
        tries: &'a Tries,
    ) -> Order<'a> {
        Order {
            request,
            route: place.route,
            regions: place.regions.as_deref().unwrap_or(&self.regions),
            stop: &self.stop,
            retry: place.retry.as_deref().unwrap_or(&self.retry),
            urgency: place.urgency,
            labels,
            retries: &self.retries,
            purse: self.purse.as_deref(),
            item: ItemRef { run: self.run, index: place.index },
            tries,
            warmth: place.warmth.as_deref(),
            outlet: None,
        }
    }
}
