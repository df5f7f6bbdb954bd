//! Answers that come as a piece of a reply to several requests.
//!
//! Whoever asks several requests in one call has the call made [as a whole](whole), takes its reply apart, and has each
//! piece [judged](judge) like a reply to its own request. What is refused is asked again alone, as if that had been the
//! reply: [`Begun`] carries what was wrong with it.

use super::cache::Answers;
use super::policy::AskPolicy;
use super::{Asking, Begun};
use crate::dispatch::{Dispatcher, Order};
use crate::failure::Failure;
use crate::outcome::{Attempt, Outcome};
use crate::response::Response;

/// Makes one call as the first try of a ladder would, and judges nothing. The order's output limit stands as it is.
pub(crate) async fn whole<G>(
    dispatcher: &Dispatcher,
    policy: &AskPolicy,
    order: &Order<'_>,
    attempts: &mut Vec<Attempt>,
    admitted: G,
) -> Result<Response, Failure> {
    let max_tokens = order.request.params.max_tokens;
    let mut asking = Asking::new(dispatcher, policy, None, order, std::mem::take(attempts));
    asking.max_tokens = max_tokens;
    let result = asking.dispatch(admitted).await;
    *attempts = asking.attempts;
    result
}

/// Returns the outcome of a request whose answer is known from earlier.
pub(crate) async fn known(
    dispatcher: &Dispatcher,
    policy: &AskPolicy,
    answers: &Answers,
    order: &Order<'_>,
    index: u64,
) -> Option<Outcome> {
    let mut asking = Asking::new(dispatcher, policy, Some(answers), order, Vec::new());
    let (response, model) = asking.find().await?;
    Some(Outcome { cached: Some(model), ..Outcome::new(index, Ok(response)) })
}

/// Judges a request's piece of a reply; `attempts` are that request's. Returns its outcome, or where to go on from.
pub(crate) async fn judge(
    dispatcher: &Dispatcher,
    policy: &AskPolicy,
    answers: Option<&Answers>,
    order: &Order<'_>,
    piece: Response,
    attempts: Vec<Attempt>,
) -> Result<Outcome, Box<Begun>> {
    let plain = policy.is_plain() && order.request.schema.is_none();
    let mut asking = Asking::new(dispatcher, policy, answers, order, attempts);
    asking.checked.asks = 1;
    match asking.judge(piece).await {
        Ok(response) => {
            asking.checked.last_rung_cost = asking.last_rung_cost();
            asking.keep(&response);
            Ok(asking.end(0, Ok(response), plain))
        }
        Err(refused) => {
            let refused = Some(Box::new(asking.note(refused)));
            Err(Box::new(Begun { attempts: asking.attempts, checked: asking.checked, refused }))
        }
    }
}
