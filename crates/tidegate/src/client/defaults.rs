//! What requests say, and where they go, where they say nothing themselves.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Client, ClientBuilder};
use crate::dispatch::admission::RouteId;
use crate::error::{Error, Result};
use crate::request::{Params, Request};
use crate::suggest::closest;

impl ClientBuilder {
    /// Gives every request these parameters where it says nothing itself.
    ///
    /// ```
    /// # use tidegate::{Client, Params, Request, Target};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidegate::Result<()> {
    /// let mut params = Params::default();
    /// (params.temperature, params.max_tokens) = (Some(0.2), Some(5));
    /// let client = Client::builder().target(Target::new("sim/echo")?).defaults(params).build()?;
    /// let short = client.send(&Request::prompt("Count to a hundred")).await;
    /// let longer = client.send(&Request::prompt("Count to a hundred").max_tokens(60)).await;
    /// assert!(short.usage().unwrap().output_tokens <= 5 && longer.usage().unwrap().output_tokens > 5);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn defaults(mut self, params: Params) -> ClientBuilder {
        self.defaults = params;
        self
    }
}

impl Client {
    /// Gives a request the client's parameters where it has none of its own.
    pub(crate) fn fill_in(&self, request: &mut Request) {
        if let Some(defaults) = &self.defaults {
            request.params = std::mem::take(&mut request.params).over((**defaults).clone());
        }
    }

    /// Returns a request with the client's parameters where it has none of its own.
    pub(super) fn filled_in<'a>(&self, request: &'a Request) -> Cow<'a, Request> {
        if self.defaults.is_none() {
            return Cow::Borrowed(request);
        }
        let mut request = request.clone();
        self.fill_in(&mut request);
        Cow::Owned(request)
    }

    /// Returns the route over these models in these regions; over those that are asked without a name, and all regions, if
    /// there are none.
    pub(crate) fn route_in(&self, models: &[Arc<str>], regions: &[String]) -> RouteId {
        self.dispatcher.admission.route_in(if models.is_empty() { &self.models } else { models }, regions)
    }

    /// Refuses a region that no endpoint is in.
    pub(crate) fn check_regions(&self, regions: &[String]) -> Result<()> {
        let endpoints = &self.dispatcher.endpoints;
        let known = |region: &&String| endpoints.iter().any(|endpoint| endpoint.is_in(std::slice::from_ref(region)));
        let Some(unknown) = regions.iter().find(|region| !known(region)) else { return Ok(()) };
        let places = endpoints.iter().filter_map(|endpoint| Some(endpoint.name.rsplit_once('@')?.1));
        let meant = closest(unknown, places).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
        Err(Error::Usage(format!("the client asks no model in the region '{unknown}'{meant}")))
    }
}
