//! Answers that hold: schemas, checks, complaints, ladders, through the whole client.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate::request::Task;
use tidegate::sim::{Faults, Scenario};
use tidegate::{
    AskPolicy, Check, Client, ClientBuilder, Failure, Finish, Kind, Part, Price, Request, Response, Rung, Schema,
    Target, Tier, Usage,
};

const USAGE: Usage = Usage {
    input_tokens: 1000,
    output_tokens: 100,
    cached_tokens: 0,
    reasoning_tokens: 0,
    cache_write_tokens: 0,
    cache_write_1h_tokens: 0,
    tier: Tier::Standard,
    charged: None,
};

/// What a model was asked: its conversation as one text, and its parameters.
type Asked = Arc<Mutex<Vec<(String, Option<f64>, Option<u32>)>>>;

/// Makes a model that gives these replies in turn, the last one for ever.
fn model(name: &str, replies: &[&str]) -> (Target, Asked) {
    model_of(name, replies.iter().map(|text| Ok(Response::text(*text))).collect())
}

fn model_of(name: &str, replies: Vec<Result<Response, Failure>>) -> (Target, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let number = AtomicU32::new(0);
    let caller = tidegate::caller(move |request: Request| {
        let Task::Chat(messages) = &request.task else { panic!() };
        let parts = messages.iter().flat_map(|message| &message.parts);
        let texts: Vec<String> = parts
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        seen.lock().unwrap().push((texts.join("\n"), request.params.temperature, request.params.max_tokens));
        let place = number.fetch_add(1, Ordering::Relaxed) as usize;
        let reply = replies[place.min(replies.len() - 1)].clone();
        async move { reply.map(|response| response.with_usage(USAGE)) }
    });
    (Target::caller(name, caller).price(Price::new(1.0, 10.0)), asked)
}

fn asked(asked: &Asked) -> Vec<(String, Option<f64>, Option<u32>)> {
    asked.lock().unwrap().clone()
}

fn client(targets: impl IntoIterator<Item = Target>, policy: AskPolicy) -> Client {
    targets.into_iter().fold(Client::builder(), ClientBuilder::target).ask_policy(policy).build().unwrap()
}

fn request() -> Request {
    let schema = json!({"type": "object", "required": ["name", "total"],
        "properties": {"name": {"type": "string"}, "total": {"type": "number"}}});
    Request::prompt("How much?").schema(Schema::new(schema).unwrap().into())
}

const GOOD: &str = r#"{"name": "tea", "total": 3}"#;

fn output(value: &tidegate::Outcome) -> Value {
    value.result.clone().unwrap().output.into_value()
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_violates_the_schema_is_asked_for_again_with_what_was_wrong() {
    let (target, seen) = model("m", &[r#"{"name": "tea", "total": "3"}"#, GOOD]);
    let outcome = client([target], AskPolicy::default()).send(&request()).await;
    assert_eq!(output(&outcome), json!({"name": "tea", "total": 3}));
    let conversation = &asked(&seen)[1].0;
    assert!(conversation.starts_with("How much?\n{\"name\": \"tea\", \"total\": \"3\"}\nYour answer was refused:"));
    assert!(conversation.contains("- /total: value is not of type \"number\""), "{conversation}");
    assert!(conversation.contains("These fields were fine, keep them: name\n"), "{conversation}");
    // The refused reply is paid for, and says why it was refused.
    assert_eq!(outcome.attempts[0].failure.as_ref().map(|failure| failure.kind), Some(Kind::Rejected));
    assert_eq!((outcome.usage().unwrap().total(), outcome.cost().unwrap().usd()), (2200, 0.004));
    let checked = outcome.checked.unwrap();
    assert_eq!((checked.asks, checked.refused, checked.stripped, checked.faults.len()), (2, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_fits_fails_with_its_faults_field_by_field() {
    let (target, seen) = model("m", &["no", r#"{"total": "x"}"#]);
    let outcome = client([target], AskPolicy::default()).send(&request()).await;
    let failure = outcome.result.as_ref().unwrap_err();
    assert_eq!(failure.kind, Kind::Rejected);
    assert!(failure.message.starts_with("after 3 answers: ") && failure.message.contains("/total: "), "{failure}");
    let mut paths: Vec<_> = outcome.faults().iter().map(|fault| fault.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["", "/total"]);
    assert_eq!((outcome.attempts.len(), outcome.usage().unwrap().input_tokens), (3, 3000));
    // Only the last reply and its complaint are in the next request.
    assert!(!asked(&seen)[2].0.contains("not one JSON value"));
}

#[tokio::test(start_paused = true)]
async fn retries_of_answers_have_a_count_and_a_delay_of_their_own() {
    let (target, seen) = model("m", &["no"]);
    let policy = AskPolicy { retries: Some(4), delay: Duration::from_secs(3), ..AskPolicy::default() };
    let begun = tokio::time::Instant::now();
    let outcome = client([target], policy).send(&request()).await;
    assert_eq!((outcome.attempts.len(), asked(&seen).len()), (5, 5));
    assert_eq!(begun.elapsed().as_secs(), 12);
}

#[tokio::test(start_paused = true)]
async fn fences_are_taken_off_without_asking_again() {
    let (target, _) = model("m", &[&format!("```json\n{GOOD}\n```")]);
    let outcome = client([target], AskPolicy::default()).send(&request()).await;
    assert_eq!((output(&outcome)["total"].clone(), outcome.attempts.len()), (json!(3), 1));
    assert_eq!(outcome.checked.unwrap().stripped, 1);
}

fn cut() -> Result<Response, Failure> {
    let mut response = Response::text(r#"{"name": "te"#);
    response.finish = Finish::Length;
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_was_cut_off_is_asked_for_again_with_twice_the_limit() {
    let (target, seen) = model_of("m", vec![cut(), cut(), Ok(Response::text(GOOD))]);
    let outcome = client([target], AskPolicy::default()).send(&request().max_tokens(50)).await;
    assert!(outcome.result.is_ok());
    assert_eq!(asked(&seen).iter().map(|(_, _, limit)| limit.unwrap()).collect::<Vec<_>>(), [50, 100, 200]);
    // Without a limit of the request's own there is nothing to raise.
    let (target, seen) = model_of("m", vec![cut()]);
    let outcome = client([target], AskPolicy::default()).send(&request()).await;
    assert_eq!((outcome.result.unwrap_err().kind, asked(&seen).len()), (Kind::Truncated, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_schema_a_reply_that_was_cut_off_is_an_answer() {
    let (target, _) = model_of("m", vec![cut()]);
    let outcome = client([target], AskPolicy::default()).send(&Request::prompt("x")).await;
    assert_eq!(outcome.text(), Ok("{\"name\": \"te"));
    assert!(outcome.checked.is_none());
}

fn ladder(rungs: &[(Option<&str>, f64)]) -> AskPolicy {
    let rung = |(model, temperature): &(Option<&str>, f64)| {
        let params = Request::prompt("").temperature(*temperature).params;
        Rung { model: model.map(Into::into), params }
    };
    AskPolicy { ladder: rungs.iter().map(rung).collect(), ..AskPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn a_ladder_goes_up_on_refusals_and_tells_what_it_saved() {
    let (cheap, cheap_asked) = model("cheap", &["no"]);
    let (strong, strong_asked) = model("strong", &[GOOD]);
    let strong = strong.price(Price::new(10.0, 100.0)).by_name();
    let client = client([cheap, strong], ladder(&[(None, 0.0), (None, 0.5), (Some("strong"), 1.0)]));
    let outcome = client.send(&request()).await;
    assert_eq!(asked(&cheap_asked).iter().map(|(_, t, _)| t.unwrap()).collect::<Vec<_>>(), [0.0, 0.5]);
    assert!(asked(&cheap_asked)[1].0.contains("refused"));
    // Another model starts from the bare request.
    assert_eq!(asked(&strong_asked), [("How much?".to_owned(), Some(1.0), None)]);
    assert_eq!(outcome.last().unwrap().model.as_ref(), "strong");
    assert_eq!(outcome.cost().unwrap().usd(), 0.002 + 0.002 + 0.02);
    let checked = outcome.checked.unwrap();
    assert_eq!((checked.rung, checked.last_rung_cost.unwrap().usd()), (2, 0.02));
}

#[tokio::test(start_paused = true)]
async fn a_ladder_never_goes_up_for_load_or_the_network() {
    let busy = Failure::rate_limited(Duration::from_secs(1));
    let broken = Failure::new(Kind::ServerError, "no");
    let (cheap, cheap_asked) = model_of("cheap", vec![Err(busy), Err(broken), Ok(Response::text(GOOD))]);
    let (strong, strong_asked) = model("strong", &[GOOD]);
    let outcome =
        client([cheap, strong.by_name()], ladder(&[(None, 0.0), (Some("strong"), 1.0)])).send(&request()).await;
    assert!(outcome.result.is_ok());
    assert_eq!((asked(&cheap_asked).len(), asked(&strong_asked).len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn empty_replies_go_up_only_where_that_is_named() {
    for (advance_on, strong_calls) in [(vec![Kind::Rejected], 0), (vec![Kind::Empty], 1)] {
        let empty = Failure::new(Kind::Empty, "empty").with_usage(Some(USAGE));
        let (cheap, _) = model_of("cheap", vec![Err(empty)]);
        let (strong, seen) = model("strong", &[GOOD]);
        let policy = AskPolicy { advance_on, ..ladder(&[(None, 0.0), (Some("strong"), 0.0)]) };
        let outcome = client([cheap, strong.by_name()], policy).send(&request()).await;
        assert_eq!((asked(&seen).len(), outcome.result.is_ok()), (strong_calls, strong_calls == 1));
        assert_eq!(outcome.attempts[0].usage, Some(USAGE));
    }
}

#[tokio::test(start_paused = true)]
async fn checks_refuse_plain_answers_too_and_a_run_may_have_its_own() {
    let (target, seen) = model("m", &["hello", "HELLO"]);
    let client = Client::builder().target(target).check(Check::regex("^[A-Z]+$").unwrap()).build().unwrap();
    let outcomes: Vec<_> = client.run([Request::prompt("x")]).check(Check::new("any", |_, _| Ok(()))).collect().await;
    assert_eq!(outcomes[0].0.text(), Ok("HELLO"));
    assert!(asked(&seen)[1].0.contains("does not match ^[A-Z]+$"));
}

#[derive(Debug, PartialEq, Deserialize, schemars::JsonSchema)]
struct Line {
    name: String,
    #[serde(deserialize_with = "positive")]
    total: f64,
}

fn positive<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number > 0.0 { Ok(number) } else { Err(serde::de::Error::custom("must be more than 0")) }
}

#[tokio::test(start_paused = true)]
async fn a_type_is_asked_for_and_its_own_rules_count() {
    let (target, seen) = model("m", &[r#"{"name": "tea", "total": -1}"#, GOOD]);
    let line = client([target], AskPolicy::default()).ask::<Line>(&Request::prompt("x")).await.unwrap();
    assert_eq!(line.value, Line { name: "tea".to_owned(), total: 3.0 });
    assert!(asked(&seen)[1].0.contains("must be more than 0"));
    let (target, _) = model("m", &["never"]);
    let error = client([target], AskPolicy::default()).ask::<Line>(&Request::prompt("x")).await.unwrap_err();
    assert_eq!(
        (error.failure.kind, error.outcome.attempts.len(), error.outcome.faults().len()),
        (Kind::Rejected, 3, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_fifth_of_damaged_replies_leaves_no_row_without_a_value() {
    let faults = Faults { damaged_json: 0.2, fenced_json: 0.1, ..Faults::default() };
    let client = Client::builder()
        .target(Target::new("sim/m").unwrap())
        .scenario(Scenario { faults, seed: 7, ..Scenario::fixed(20.0) })
        .ask_policy(AskPolicy { retries: Some(6), ..AskPolicy::default() })
        .build()
        .unwrap();
    let schema = request().schema.unwrap();
    let rows = (0..500).map(|row| Request::prompt(format!("Row {row}?")).schema(schema.clone()));
    let outcomes: Vec<_> = client.run(rows).collect().await;
    assert_eq!(outcomes.iter().filter(|(outcome, ())| outcome.result.is_ok()).count(), 500);
    let refused: u32 = outcomes.iter().map(|(outcome, ())| outcome.checked.as_ref().unwrap().refused).sum();
    let stripped: u32 = outcomes.iter().map(|(outcome, ())| outcome.checked.as_ref().unwrap().stripped).sum();
    assert!((80..180).contains(&refused) && (30..90).contains(&stripped), "{refused} {stripped}");
}
