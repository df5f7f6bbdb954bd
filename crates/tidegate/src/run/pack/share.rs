//! What each request of a packed call has of its usage and cost: parts that sum up to the whole exactly.
//!
//! Input is divided by the lengths of the prompts, output by those of the answers, money by what the parts would cost.

use crate::failure::Failure;
use crate::money::{Money, Price};
use crate::outcome::Attempt;
use crate::response::Usage;

/// How large each member's parts are.
pub(super) struct Sizes {
    pub(super) inputs: Vec<u64>,
    pub(super) outputs: Vec<u64>,
}

/// Divides attempts among the members of the call.
pub(super) fn divide(attempts: &[Attempt], sizes: &Sizes, price: impl Fn(&str) -> Option<Price>) -> Vec<Vec<Attempt>> {
    let members = sizes.inputs.len();
    let mut all = vec![Vec::with_capacity(attempts.len()); members];
    for attempt in attempts {
        let usages = attempt.usage.map(|usage| usages(usage, sizes));
        let costs = attempt.cost.map(|cost| costs(cost, usages.as_deref(), price(&attempt.model), members));
        for (member, mine) in all.iter_mut().enumerate() {
            let usage = usages.as_ref().map(|usages| usages[member]);
            let failure = attempt.failure.clone();
            mine.push(Attempt {
                packed: u32::try_from(members).unwrap_or(u32::MAX),
                usage,
                cost: costs.as_ref().map(|costs| costs[member]),
                failure: failure.map(|failure| Failure { usage: failure.usage.and(usage.map(Box::new)), ..failure }),
                ..attempt.clone()
            });
        }
    }
    all
}

fn usages(whole: Usage, sizes: &Sizes) -> Vec<Usage> {
    let input = |count| parts(count, &sizes.inputs);
    let output = |count| parts(count, &sizes.outputs);
    let (inputs, cached) = (input(whole.input_tokens), input(whole.cached_tokens));
    let (written, for_an_hour) = (input(whole.cache_write_tokens), input(whole.cache_write_1h_tokens));
    let (outputs, reasoning) = (output(whole.output_tokens), output(whole.reasoning_tokens));
    let usage = |member: usize| Usage {
        input_tokens: inputs[member],
        output_tokens: outputs[member],
        cached_tokens: cached[member],
        reasoning_tokens: reasoning[member],
        cache_write_tokens: written[member],
        cache_write_1h_tokens: for_an_hour[member],
        tier: whole.tier,
        charged: None,
    };
    (0..sizes.inputs.len()).map(usage).collect()
}

fn costs(whole: Money, usages: Option<&[Usage]>, price: Option<Price>, members: usize) -> Vec<Money> {
    let weights = match (usages, price) {
        (Some(usages), Some(price)) => usages.iter().map(|usage| price.cost(usage).picodollars()).collect(),
        _ => vec![1; members],
    };
    parts(whole.picodollars(), &weights).into_iter().map(Money::from_picodollars).collect()
}

/// Divides a number by weights; equally if they are all 0. The parts sum up to it.
fn parts(whole: u64, weights: &[u64]) -> Vec<u64> {
    let sum = |shift: u32| weights.iter().map(|weight| u128::from(*weight) >> shift).sum::<u128>();
    // As much of the weights as can be multiplied with the whole.
    let shift = (u128::BITS - sum(0).leading_zeros()).saturating_sub(u64::BITS);
    let all = sum(shift);
    let (each, all) = if all == 0 { (1, weights.len() as u128) } else { (0, all) };
    let (mut seen, mut given) = (0_u128, 0_u64);
    let part = |weight: &u64| {
        seen += (u128::from(*weight) >> shift) + each;
        let until = (u128::from(whole) * seen / all) as u64;
        let part = until - given;
        given = until;
        part
    };
    weights.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn parts_sum_up_to_the_whole(whole in any::<u64>(), weights in proptest::collection::vec(any::<u64>(), 1..30)) {
            let parts = parts(whole, &weights);
            prop_assert_eq!(parts.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(whole));
            let equal = super::parts(whole, &vec![0; weights.len()]);
            prop_assert_eq!(equal.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(whole));
            prop_assert!(equal.iter().max().unwrap() - equal.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn who_asks_and_answers_more_pays_more() {
        let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
        let price = Price::new(1.0, 10.0);
        let sizes = Sizes { inputs: vec![300, 100], outputs: vec![0, 40] };
        let usages = usages(usage, &sizes);
        assert_eq!(
            usages.iter().map(|usage| (usage.input_tokens, usage.output_tokens)).collect::<Vec<_>>(),
            [(75, 0), (25, 10)]
        );
        let costs = costs(price.cost(&usage), Some(&usages), Some(price), 2);
        assert_eq!(costs, [Money::from_usd(75e-6), Money::from_usd(125e-6)]);
    }
}
