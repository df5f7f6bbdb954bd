//! Who pays for the calls of one request: the run's purse, if there is a budget.

use std::sync::Arc;

use super::budget::{Purse, Reservation};
use super::endpoint::Endpoint;
use super::worst_case::worst_case;
use crate::failure::Failure;
use crate::money::Spend;
use crate::request::Request;

/// The worst case of one request at each endpoint, and the purse that has to bear it. Without a budget everything is free.
pub(super) struct Payer<'a> {
    purse: Option<&'a Purse>,
    worst: Vec<Result<Spend, Failure>>,
}

/// What is reserved for one call; nothing without a budget.
pub(super) type Paid<'a> = Option<Reservation<'a>>;

impl<'a> Payer<'a> {
    pub(super) fn new(purse: Option<&'a Purse>, request: &Request, endpoints: &[Arc<Endpoint>]) -> Payer<'a> {
        let of = |purse: &Purse| {
            let budget = purse.budget();
            endpoints.iter().map(|endpoint| worst_case(endpoint, request, &budget)).collect()
        };
        Payer { purse, worst: purse.map(of).unwrap_or_default() }
    }

    /// Waits until the budget has room for one call to any of these endpoints. Done before it queues, because nobody holds a
    /// lease while waiting.
    pub(super) async fn reserve(&self, endpoints: &[usize]) -> Result<Paid<'a>, Failure> {
        match self.purse {
            Some(purse) => purse.reserve(self.worst_of(endpoints)?).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reserves one call to any of these endpoints, if the budget has room for it now.
    pub(super) fn try_reserve(&self, endpoints: &[usize]) -> Option<Paid<'a>> {
        match self.purse {
            Some(purse) => purse.try_reserve(self.worst_of(endpoints).ok()?).ok()?.map(Some),
            None => Some(None),
        }
    }

    /// Notes that a call is being sent to that endpoint.
    pub(super) fn sent(&self, paid: &mut Paid<'_>, place: usize) -> Result<(), Failure> {
        match (paid, self.worst.get(place)) {
            (Some(paid), Some(worst)) => paid.sent(worst.clone()?),
            _ => Ok(()),
        }
    }

    fn worst_of(&self, endpoints: &[usize]) -> Result<Spend, Failure> {
        endpoints.iter().try_fold(Spend::default(), |most, &place| Ok(most.max(self.worst[place].clone()?)))
    }
}
