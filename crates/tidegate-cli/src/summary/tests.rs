use std::collections::BTreeMap;

use tidegate::run::summary::{Percentiles, Tally};
use tidegate::{Failure, Limits};

use super::*;

fn text(summary: &Summary, out: Option<&str>, config: Option<&str>) -> String {
    let mut text = Vec::new();
    print(summary, out.map(Path::new), config.map(Path::new), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn model(succeeded: u64, failed: u64, cost_usd: f64) -> ModelTally {
    ModelTally { succeeded, failed, cost_usd: (cost_usd > 0.0).then_some(cost_usd) }
}

/// Returns the summary of 10,000 rows, all answered within 200 s.
fn whole() -> Summary {
    let mut summary = Summary::of(&Tally::default());
    (summary.read, summary.succeeded, summary.seconds) = (10_000, 10_000, 200.0);
    (summary.usage.input_tokens, summary.usage.output_tokens) = (1_234_567, 345_678);
    summary.cost_usd = Some(12.34);
    summary.models = BTreeMap::from([("openai/gpt-5-mini".to_owned(), model(10_000, 0, 12.34))]);
    summary.latency_ms = Percentiles { p50: 812.3, p95: 1904.0, p99: 12_345.6, ..Percentiles::default() };
    let mut endpoint = EndpointSnapshot::default();
    "openai/gpt-5-mini".clone_into(&mut endpoint.name);
    (endpoint.sent, endpoint.succeeded, endpoint.tokens) = (10_000, 10_000, 1_580_245);
    summary.endpoints = vec![endpoint];
    summary
}

#[test]
fn all_answered() {
    let expected = "\
Rows      10,000 answered
Tokens    1,234,567 in, 345,678 out
Cost      $12.34
Time      3m 20s, 50 rows/s; latency p50 812ms, p95 1.9s, p99 12s
Results   out.jsonl
";
    assert_eq!(text(&whole(), Some("out.jsonl"), None), expected);
}

#[test]
fn failures_limits_and_two_models() {
    let mut summary = whole();
    (summary.succeeded, summary.failed, summary.done_before, summary.retries) = (9_888, 112, 5_000, 140);
    (summary.usage.cached_tokens, summary.usage.reasoning_tokens) = (45_000, 12_000);
    let cause = |rows, example: &str| Cause { rows, example: example.to_owned() };
    summary.causes = BTreeMap::from([
        (Kind::Timeout, cause(12, "no reply within 600s")),
        (Kind::ContentFilter, cause(100, "The response was filtered\ndue to policy.")),
    ]);
    summary.models.insert("groq/llama".to_owned(), model(0, 112, 0.0));
    summary.tried_again.causes = BTreeMap::from([(Kind::RateLimited, 38), (Kind::Cut, 9), (Kind::Timeout, 93)]);
    let endpoint = &mut summary.endpoints[0];
    (endpoint.rejected, endpoint.cooled) = (38, Duration::from_millis(45_300));
    endpoint.limits = Limits { rpm: Some(3_500.0), tpm: Some(500_000.0), ..Limits::default() };
    summary.warnings = vec!["3 rows have columns that the first row lacks".to_owned()];
    let expected = "\
warning: 3 rows have columns that the first row lacks
Rows      9,888 answered, 112 failed, 5,000 already done
Failed    100 content_filter: The response was filtered due to policy.
          12 timeout: no reply within 600s
Models    groq/llama: 0 answered, 112 failed
          openai/gpt-5-mini: 10,000 answered, $12.34
Tokens    1,234,567 in (45,000 cached), 345,678 out (12,000 reasoning)
Cost      $12.34
Time      3m 20s, 50 rows/s; latency p50 812ms, p95 1.9s, p99 12s
Retries   140 after 93 timeout, 9 cut, 38 calls rejected for load, 45s lost to pauses
Limits    openai/gpt-5-mini: 85.7% of 3.5k requests/min, 94.8% of 500k tokens/min
Config    ./tidegate.toml
Results   out.jsonl
The same command with --retry-failed asks again about 12 failed rows whose cause may have passed.
";
    assert_eq!(text(&summary, Some("out.jsonl"), Some("./tidegate.toml")), expected);
}

#[test]
fn a_key_that_was_refused() {
    let mut summary = Summary::of(&Tally::default());
    (summary.read, summary.unsent, summary.seconds) = (300, 300, 0.42);
    let failure = Failure::new(Kind::Auth, "Incorrect API key provided").with_status(401);
    summary.stopped = Some(Stopped::NoEndpoint { failure });
    let expected = "\
Rows      300 not sent
Time      420ms
Results   out.jsonl
Stopped: no endpoint can serve any more; a warning above says why.
Once that is put right, the same command resumes.
";
    assert_eq!(text(&summary, Some("out.jsonl"), None), expected);
}

#[test]
fn a_prompt_that_is_wrong_for_every_row() {
    let mut summary = Summary::of(&Tally::default());
    (summary.failed, summary.unsent, summary.seconds, summary.cost_usd) = (50, 12, 1.5, None);
    let failure = Failure::new(Kind::BadRequest, "max_tokens is too large").with_status(400);
    summary.causes = BTreeMap::from([(Kind::BadRequest, Cause { rows: 50, example: failure.message.clone() })]);
    summary.stopped = Some(Stopped::SameCause { failure, rows: 50 });
    let expected = "\
Rows      50 failed, 12 not sent
Failed    50 bad_request: max_tokens is too large
Time      1.5s, 33.3 rows/s
Results   out.jsonl
Stopped: 50 rows in a row failed alike: bad_request: max_tokens is too large (HTTP 400)
Once that is put right, the same command resumes.
The same command with --retry-failed=bad_request asks again about failed rows.
";
    assert_eq!(text(&summary, Some("out.jsonl"), None), expected);
}

#[test]
fn stopped_by_the_user_with_and_without_an_output() {
    let mut summary = whole();
    (summary.succeeded, summary.unsent, summary.repaired_bytes) = (400, 17, 1300);
    summary.stopped = Some(Stopped::User);
    let said = text(&summary, Some("out.jsonl"), None);
    assert!(said.starts_with("Rows      400 answered, 17 not sent\n"), "{said}");
    assert!(said.contains("\nRepaired  1.3 kB of a record that was being written when the last run died\n"), "{said}");
    assert!(said.ends_with("Results   out.jsonl\nStopped: you asked for it.\nThe same command resumes.\n"), "{said}");
    summary.read_all = false;
    let nowhere = text(&summary, None, None);
    assert!(nowhere.starts_with("Rows      400 answered, the rest not sent\n"), "{nowhere}");
    assert!(nowhere.ends_with("without -o OUT nothing can be resumed.\n"), "{nowhere}");
}

#[test]
fn a_cost_that_is_not_known_is_never_zero() {
    let mut summary = whole();
    (summary.cost_usd, summary.unpriced) = (None, 10_000);
    summary.models = BTreeMap::from([("ollama/llama3.2".to_owned(), model(10_000, 0, 0.0))]);
    assert_eq!(cost(&summary).unwrap(), "unknown: no price for ollama/llama3.2; give --price IN,OUT");
    (summary.cost_usd, summary.unpriced) = (Some(3.5), 40);
    summary.models.insert("openai/gpt-5-mini".to_owned(), model(9_960, 0, 3.5));
    assert_eq!(
        cost(&summary).unwrap(),
        "at least $3.50; 40 rows unknown: no price for ollama/llama3.2; give --price IN,OUT"
    );
    summary.models = (0..40).map(|n| (format!("sim/{n:02}"), model(1, 0, 0.0))).collect();
    assert!(cost(&summary).unwrap().contains("sim/08, sim/09 and 30 more"), "{:?}", cost(&summary));
    (summary.cost_usd, summary.usage) = (None, tidegate::Usage::default());
    assert_eq!(cost(&summary).unwrap(), "unknown: the provider does not say how many tokens were used");
}

#[test]
fn nothing_to_do_is_said_in_a_line_or_two() {
    let mut summary = Summary::of(&Tally::default());
    assert_eq!(text(&summary, None, None), "Rows      none\n");
    (summary.read, summary.done_before) = (10_000, 10_000);
    let expected = "Rows      10,000 already done\nResults   out.jsonl\n";
    assert_eq!(text(&summary, Some("out.jsonl"), None), expected);
}
