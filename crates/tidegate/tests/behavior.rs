//! What every provider does, in every format that it speaks: one table of behaviours times the rows of
//! [`PROVIDERS`](tidegate::call::provider::PROVIDERS).
//!
//! By default the simulated provider stands in for each of them, over real HTTP. `TIDEGATE_TEST=openai,anthropic` asks
//! those providers themselves, with the keys of their own variables and the cheapest model of the catalog, or the one that
//! is named (`openai/gpt-5-mini`); that costs a few cents. What a row cannot do is listed as ignored, with the reason;
//! which those are follows from the row and its format. `cargo test --test behavior -- anthropic` runs only some.

#[path = "behavior/answers.rs"]
mod answers;
#[path = "behavior/failures.rs"]
mod failures;
#[path = "behavior/place.rs"]
mod place;
#[path = "behavior/server.rs"]
mod server;

use std::process::ExitCode;

use futures_util::future::BoxFuture;
use libtest_mimic::{Arguments, Completion, Trial};

use self::place::{Need, Place};

/// One thing that a provider does.
struct Behavior {
    name: &'static str,
    /// What a row must have for it.
    needs: &'static [Need],
    /// How the simulated provider behaves, beside what it always does.
    scenario: &'static str,
    /// Asks, and panics if the answer is wrong.
    check: Check,
}

type Check = fn(Place) -> BoxFuture<'static, ()>;

const fn behavior(name: &'static str, needs: &'static [Need], scenario: &'static str, check: Check) -> Behavior {
    Behavior { name, needs, scenario, check }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for place in place::all() {
        for behavior in answers::BEHAVIORS.iter().chain(failures::BEHAVIORS) {
            trials.push(trial(place.clone(), behavior));
        }
        trials.extend(failures::said_by(&place).map(|said| {
            let (name, place) = (format!("{} fails: {}", place.name(), said.what), place.clone());
            Trial::test(name, move || {
                run(place, &said.scenario(), |place| failures::understood(place, said));
                Ok(())
            })
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(place: Place, behavior: &'static Behavior) -> Trial {
    Trial::ignorable_test(format!("{} {}", place.name(), behavior.name), move || {
        match behavior.needs.iter().find_map(|need| place.lacks(*need)) {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                run(place, behavior.scenario, behavior.check);
                Ok(Completion::Completed)
            }
        }
    })
}

/// Asks at a place, which is simulated unless it is a real one.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn run<F: Future<Output = ()>>(place: Place, scenario: &str, check: impl FnOnce(Place) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = if place.live { place } else { place.simulated(server::start(scenario, &place).await) };
        check(place).await;
    });
}
