//! A reply that broke off while somebody listened, and goes on elsewhere, if that is wanted.
//!
//! What was said cannot be taken back, so it is not begun anew: whoever goes on is given the question, what was said, and
//! the demand to go on from there. Models like to repeat the last words, or begin again all the same: what they repeat of
//! what was said is left out. Where another voice begins to speak is marked by [`Delta::Switched`]. The caller's request
//! stays as it was.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Order;
use super::streaming::{Outlet, State};
use crate::call;
use crate::failure::Failure;
use crate::outcome::Attempt;
use crate::request::{Message, Part, Request, Task};
use crate::response::{Delta, Output, Response, Usage};

/// What is asked of whoever goes on.
const GO_ON: &str = "Your reply was cut off. Go on exactly where it ends, in the middle of a word if it ends there. Repeat \
    nothing of it, and say nothing about the interruption.";
/// Fewer bytes than this that are said twice may be meant so.
const REPETITION: usize = 8;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    text: String,
    /// Where the present attempt's part of the text begins.
    from: usize,
    /// Whether a tool was called, which nobody else can go on with.
    called: bool,
    /// The endpoint whose reply broke off, until another speaks.
    broken: Option<Arc<str>>,
    /// What the present attempt has said that may be a repetition, while that cannot be told.
    held: Option<String>,
    warnings: Vec<String>,
}

impl Said {
    /// Adds a piece that an endpoint says, and what is new of it to those that wait to be taken.
    pub(super) fn add(&mut self, delta: Delta, endpoint: &Arc<str>, pieces: &mut VecDeque<Delta>) {
        if let Some(from) = self.broken.take() {
            self.warnings.push(format!("the reply broke off at {from} and went on at {endpoint}"));
            pieces.push_back(Delta::Switched { from, to: endpoint.clone() });
        }
        match delta {
            Delta::Text(more) => self.add_text(more, pieces),
            delta => {
                self.called |= matches!(delta, Delta::ToolCall { .. });
                if !matches!(delta, Delta::Reasoning(_)) {
                    self.release(true, pieces);
                }
                pieces.push_back(delta);
            }
        }
    }

    fn add_text(&mut self, more: String, pieces: &mut VecDeque<Delta>) {
        match &mut self.held {
            Some(held) => {
                held.push_str(&more);
                self.release(false, pieces);
            }
            None => {
                self.text.push_str(&more);
                pieces.push_back(Delta::Text(more));
            }
        }
    }

    /// Lets go what was held, once it can be told what of it is new: when it is `over`, or differs.
    pub(super) fn release(&mut self, over: bool, pieces: &mut VecDeque<Delta>) {
        let Some(held) = &self.held else { return };
        let Some(known) = repeated(&self.text, held, over) else { return };
        let new = held[known..].to_owned();
        self.held = None;
        if !new.is_empty() {
            self.text.push_str(&new);
            pieces.push_back(Delta::Text(new));
        }
    }

    /// Returns the reply with what was said before it.
    pub(super) fn whole(&self, mut response: Response) -> Response {
        response.warnings.extend(self.warnings.iter().cloned());
        if self.from == 0 {
            return response;
        }
        if let Output::Text(text) = &mut response.output {
            text.clone_from(&self.text);
        }
        if !response.parts.is_empty() {
            let place = response.parts.iter().position(|part| matches!(part, Part::Text(_))).unwrap_or(0);
            response.parts.retain(|part| !matches!(part, Part::Text(_)));
            response.parts.insert(place.min(response.parts.len()), Part::Text(self.text.clone()));
        }
        response
    }
}

impl Outlet {
    /// Notes that the last of the attempts broke off after something was said. Returns whether the reply may go on
    /// elsewhere.
    pub(super) fn broke_off(&self, order: &Order<'_>, failure: &Failure, attempts: &mut [Attempt]) -> bool {
        let State { said, .. } = &mut *self.lock();
        let Some(last) = attempts.last_mut() else { return false };
        let part = said.text[said.from..].to_owned() + said.held.as_deref().unwrap_or_default();
        last.partial = Some(part).filter(|part| !part.is_empty());
        said.broken = Some(last.endpoint.clone());
        let plain = order.request.schema.is_none() && !said.called;
        order.retry.switch_streams && plain && failure.kind.is_transient()
    }

    /// Returns about what a call used that broke off after something was said, and lets nobody think it was free.
    pub(super) fn spent(&self, estimate: Usage) -> Option<Usage> {
        let State { speaker, said, .. } = &*self.lock();
        let part = said.text.len() - said.from + said.held.as_ref().map_or(0, String::len);
        speaker.map(|_| Usage { output_tokens: part.div_ceil(4) as u64, ..estimate })
    }

    /// Gives the word to whoever goes on, and returns what that is asked; nothing if it is the same as before.
    pub(super) fn rest_of(&self, request: &Request) -> Option<Request> {
        self.reopen();
        let State { said, .. } = &mut *self.lock();
        said.held = Some(String::new()).filter(|_| !said.text.is_empty());
        if said.text.trim().is_empty() {
            return None;
        }
        let asked_before = said.from > 0;
        said.from = said.text.len();
        let mut request = call::typed(request).ok()?.into_owned();
        let Task::Chat(messages) = &mut request.task else { return None };
        if asked_before {
            messages.truncate(messages.len().saturating_sub(2));
        }
        messages.push(Message::assistant().text(&said.text));
        messages.push(Message::user().text(GO_ON));
        Some(request)
    }
}

/// Returns how many bytes at the start of `more` repeat the end of what was said; nothing while there may be more of them.
fn repeated(said: &str, more: &str, over: bool) -> Option<usize> {
    for (start, _) in said.char_indices() {
        let tail = &said[start..];
        if start > 0 && tail.len() < REPETITION {
            break;
        }
        if more.starts_with(tail) {
            return Some(tail.len());
        }
        if tail.starts_with(more) && !over {
            return None;
        }
    }
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_the_end_of_what_was_said_is_found() {
        let said = "The tide turns at noon";
        for (more, over, known) in [
            (" and at midnight", false, Some(0)),
            ("The tide turns at noon and", false, Some(said.len())),
            ("The tide turns at", false, None),
            ("The tide is", false, Some(0)),
            ("turns at noon, then", false, Some("turns at noon".len())),
            ("turns at", false, None),
            ("turns at", true, Some(0)),
            (" at noon, then", false, Some(" at noon".len())),
            ("noon noon", false, Some(0)),
            ("", false, None),
        ] {
            assert_eq!(repeated(said, more, over), known, "{more}");
        }
        assert_eq!(repeated("1", "1, 2", false), Some(1), "it began anew");
        assert_eq!(repeated("ü🌊", "🌊", false), Some(0));
    }
}
