//! What a user should know before a run begins: settings that are allowed and will disappoint.

use std::time::Duration;

use super::Job;
use crate::client::Client;
use crate::dispatch::RetryPolicy;
use crate::money::{Budget, Spend};

impl Job {
    /// Returns warnings about settings that do not go well together, in sentences.
    #[must_use]
    pub fn cautions(&self, client: &Client) -> Vec<String> {
        self.open_output(client).into_iter().chain(self.tight_deadlines(client.dispatcher.retry)).collect()
    }

    /// Without a bound the longest possible answer is reserved for each request, and few of those fit a budget.
    fn open_output(&self, client: &Client) -> Vec<String> {
        if self.budget.is_none() || !self.leaves_output_open() {
            return Vec::new();
        }
        let mut named = Vec::new();
        let mut cautions = Vec::new();
        for endpoint in &client.dispatcher.endpoints {
            let Some(most) = endpoint.max_output.filter(|_| !named.contains(&&endpoint.model)) else { continue };
            named.push(&endpoint.model);
            let money = endpoint.price.map(|price| price.most(0, most.into())).unwrap_or_default();
            let fitting = fitting(self.budget, Spend { money, tokens: most.into() });
            let reserved = if self.budget.usd.is_some() { format!(" ({money})") } else { String::new() };
            cautions.push(format!(
                "without --max-tokens each request to {} reserves the {most} output tokens that it may use{reserved}: the \
                 budget lets at most {fitting} be in flight, and the run stops that much before it is spent",
                endpoint.model
            ));
        }
        cautions
    }

    /// Says where the time for a row, or for the whole run, is shorter than the attempts and waits that a row may need.
    fn tight_deadlines(&self, retry: RetryPolicy) -> impl Iterator<Item = String> {
        // What is left until a moment of the day is no round number.
        let tenths = |time: Duration| Duration::from_millis(time.as_millis() as u64 / 100 * 100);
        let longest = retry.longest();
        let allowed = [(retry.deadline, "a row"), (self.max_time, "the run")];
        allowed.into_iter().filter_map(move |(allowed, of)| {
            let allowed = allowed.filter(|allowed| longest > *allowed)?;
            Some(format!(
                "the {} attempts of up to {:?} that a row may take, and the waits between them, come to {:?}, longer than the \
                 {:?} allowed for {of}: rows may be left without an answer; lower --timeout or --max-attempts",
                retry.max_attempts,
                retry.timeout,
                tenths(longest),
                tenths(allowed),
            ))
        })
    }
}

/// Returns how many times that much fits into a budget.
fn fitting(budget: Budget, each: Spend) -> u64 {
    let times = |most: f64, each: f64| if each > 0.0 { (most / each) as u64 } else { u64::MAX };
    let usd = budget.usd.map_or(u64::MAX, |most| times(most.usd(), each.money.usd()));
    usd.min(budget.tokens.map_or(u64::MAX, |most| times(most as f64, each.tokens as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Target;
    use crate::money::{Money, Price};

    fn cautions(model: &str, job: &Job) -> Vec<String> {
        let target = Target::new(model).unwrap().price(Price::new(1.0, 2.0));
        job.cautions(&Client::builder().target(target).build().unwrap())
    }

    #[test]
    fn a_budget_without_a_bound_says_how_few_requests_fit() {
        let budget = Budget { usd: Some(Money::from_usd(1.0)), tokens: None };
        let open = Job { budget, ..Job::default() };
        let said = cautions("openai/gpt-5-mini", &open);
        assert!(said[0].contains("the 128000 output tokens that it may use ($0.2560)"), "{said:?}");
        assert!(said[0].contains("at most 3 be in flight"), "{said:?}");
        let mut bounded = open.clone();
        bounded.prompt.params.max_tokens = Some(10);
        assert!(cautions("openai/gpt-5-mini", &bounded).is_empty());
    }

    #[test]
    fn a_deadline_shorter_than_a_rows_attempts_is_told() {
        let job = |minutes: u64| Job { max_time: Some(Duration::from_secs(60 * minutes)), ..Job::default() };
        assert!(cautions("sim/echo", &job(60)).is_empty());
        let said = cautions("sim/echo", &job(10));
        assert!(said[0].starts_with("the 5 attempts of up to 600s that a row may take"), "{said:?}");
        let retry =
            |minutes: u64| RetryPolicy { deadline: Some(Duration::from_secs(60 * minutes)), ..RetryPolicy::default() };
        let said = |minutes| {
            let client = Client::builder().target(Target::new("sim/echo").unwrap()).retry(retry(minutes));
            Job::default().cautions(&client.build().unwrap())
        };
        assert!(said(60).is_empty());
        assert!(said(10)[0].contains("longer than the 600s allowed for a row"), "{:?}", said(10));
    }
}
