//! LOOP 2: over answers. Dispatch, and one day check, complain and ask again.
//!
//! Today every reply that decodes is an answer; this is where caches, checks and ladders stand between a run and its
//! dispatches, without the run or the dispatcher knowing of them.

use crate::dispatch::{Dispatcher, Order};
use crate::outcome::Outcome;

/// Asks until there is an answer, and says how that went.
pub(crate) async fn ask<G>(dispatcher: &Dispatcher, order: Order<'_>, index: u64, admitted: G) -> Outcome {
    let mut attempts = Vec::with_capacity(1);
    let result = dispatcher.dispatch(order, &mut attempts, admitted).await;
    Outcome { index, result, attempts, fallback: None }
}
