//! Answers as values of a type.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::check::Check;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::outcome::{Attempt, Outcome};
use crate::request::Request;
use crate::response::{Output, Response};
use crate::schema::Schema;

/// An answer as a value, with how it came about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Typed<T> {
    /// The answer.
    pub value: T,
    /// Every attempt with its usage and cost.
    pub outcome: Outcome,
}

/// There is no answer: why, and how that came about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unanswered {
    /// The cause.
    pub failure: Failure,
    /// Every attempt with its usage and cost; of an answer that was refused, [`Outcome::faults`] says field by field why.
    pub outcome: Outcome,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for Unanswered {}

impl Client {
    /// Asks for a value of a type: the schema is the type's, each reply is validated, and one that does not fit is asked
    /// for again with what is wrong.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tidegate::{Client, Request, Target};
    ///
    /// #[derive(Deserialize, schemars::JsonSchema)]
    /// struct Review {
    ///     /// From 1 to 5.
    ///     stars: u8,
    ///     topics: Vec<String>,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::builder().target(Target::new("sim/echo")?).build()?;
    /// let review = client.ask::<Review>(&Request::prompt("Rate: 'Great boat, bad tea.'")).await?;
    /// println!("{} stars, {} attempts", review.value.stars, review.outcome.attempts.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::Rejected`] and [`Kind::Truncated`] when no reply was a value
    /// of that type, and whatever [`send`](Client::send) fails with.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call and sends nothing more.
    pub async fn ask<T>(&self, request: &Request) -> Result<Typed<T>, Box<Unanswered>>
    where
        T: DeserializeOwned + JsonSchema + 'static,
    {
        let schema = match Schema::of::<T>() {
            Ok(schema) => Arc::new(schema),
            Err(error) => {
                let failure = Failure::new(Kind::Unsupported, error.to_string());
                return Err(unanswered(failure, Vec::new()));
            }
        };
        let mut policy = (*self.ask_policy).clone();
        policy.checks.push(Check::new(std::any::type_name::<T>(), |_, response| parse::<T>(response).map(drop)));
        let outcome = self.send_with(&request.clone().schema(schema), &policy).await;
        let parsed = match &outcome.result {
            Ok(response) => parse(response).map_err(|message| Failure::new(Kind::Rejected, message)),
            Err(failure) => Err(failure.clone()),
        };
        match parsed {
            Ok(value) => Ok(Typed { value, outcome }),
            Err(failure) => Err(Box::new(Unanswered { failure, outcome })),
        }
    }
}

fn unanswered(failure: Failure, attempts: Vec<Attempt>) -> Box<Unanswered> {
    let outcome = Outcome::new(0, Err(failure.clone()), attempts);
    Box::new(Unanswered { failure, outcome })
}

fn parse<T: DeserializeOwned>(response: &Response) -> Result<T, String> {
    match &response.output {
        Output::Json(value) => T::deserialize(value).map_err(|error| error.to_string()),
        _ => Err("not a value".to_owned()),
    }
}
