//! Replies that come piece by piece: over every wire, broken off, silent, abandoned.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tidegate::call::streaming::{Piece, ReplyStream};
use tidegate::call::transport::{BodyStream, HttpReply, HttpRequest, Transport};
use tidegate::sim::{Scenario, SimTransport, Simulator};
use tidegate::{
    Caller, Client, Delta, Failure, Kind, Limits, Message, Outcome, Output, Price, Request, Response, RetryPolicy,
    Schema, Target, Task, Try, Usage,
};
use tokio::time::{Instant, sleep};

const MODELS: [&str; 4] =
    ["openai/gpt-5-mini", "openai/gpt-5.5-pro", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"];
const PACE: &str = "latency: {fixed: {ms: 20}}\nms_per_output_token: 2\noutput_tokens: 60\n";

fn simulator(scenario: &str) -> Simulator {
    Simulator::new(Scenario::from_yaml(&format!("{PACE}{scenario}")).unwrap())
}

fn client(models: &[&str], simulator: &Simulator, retry: RetryPolicy) -> Client {
    let transport = Arc::new(SimTransport::to(simulator.clone()));
    let builder = Client::builder().transport(transport).retry(retry);
    let targets = models.iter().map(|model| Target::new(model).unwrap().key("k"));
    targets.fold(builder, tidegate::ClientBuilder::target).build().unwrap()
}

fn text(deltas: &[Delta]) -> String {
    let of = |delta: &Delta| match delta {
        Delta::Text(text) => Some(text.clone()),
        _ => None,
    };
    deltas.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_streamed_reply_is_the_whole_one_in_pieces() {
    for model in MODELS {
        let client = client(&[model], &simulator(""), RetryPolicy::default());
        let request = Request::prompt("How high is the tide?").max_tokens(50);
        let whole = client.send(&request).await.result.unwrap();
        let began = Instant::now();
        let mut reply = client.stream(&request);
        let mut deltas = vec![reply.next().await.unwrap().unwrap()];
        let first = began.elapsed();
        while let Some(delta) = reply.next().await {
            deltas.push(delta.unwrap());
        }
        assert!(first < began.elapsed() / 2, "{model}: {first:?} of {:?}", began.elapsed());
        let last = [Delta::Usage(whole.usage.unwrap()), Delta::Finish(whole.finish.clone())];
        assert!(deltas.len() > 5 && deltas.ends_with(&last), "{model}: {deltas:?}");
        let outcome = reply.outcome().await;
        assert_eq!((outcome.attempts.len(), outcome.attempts[0].usage), (1, whole.usage), "{model}");
        let streamed = outcome.result.unwrap();
        assert_eq!(Output::Text(text(&deltas)), streamed.output, "{model}");
        assert_eq!(
            (&streamed.output, &streamed.finish, streamed.usage, &streamed.model),
            (&whole.output, &whole.finish, whole.usage, &whole.model),
            "{model}"
        );
        assert!(serde_json::from_slice::<serde_json::Value>(&streamed.raw).unwrap().is_object(), "{model}");
        assert_eq!(request, Request::prompt("How high is the tide?").max_tokens(50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_is_a_failure_with_its_text_and_is_not_sent_again() {
    for model in MODELS {
        let simulator = simulator("faults: {cut_body: 1}");
        let mut reply = client(&[model], &simulator, RetryPolicy::default()).stream(&Request::prompt("x"));
        let mut deltas = Vec::new();
        let failure = loop {
            match reply.next().await.unwrap() {
                Ok(delta) => deltas.push(delta),
                Err(failure) => break failure,
            }
        };
        assert!(!text(&deltas).is_empty() && reply.next().await.is_none(), "{model}");
        let outcome = reply.outcome().await;
        assert_eq!(
            (failure.kind, outcome.attempts[0].partial.as_deref()),
            (Kind::Cut, Some(&*text(&deltas))),
            "{model}"
        );
        assert_eq!(outcome.result.unwrap_err(), failure);
        assert_eq!(simulator.stats().arrivals, 1, "{model}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_piece_it_is_tried_again() {
    let simulator = simulator("script: [{contains: hard, times: 1, status: 500}]");
    let client = client(&MODELS[..1], &simulator, RetryPolicy::default());
    let outcome = client.stream(&Request::prompt("a hard one")).outcome().await;
    assert!(outcome.text().unwrap().contains("a hard one"));
    assert_eq!(outcome.attempts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_gives_its_place_back() {
    let simulator = simulator("");
    let client = client(&MODELS[..1], &simulator, RetryPolicy::default());
    let mut reply = client.stream(&Request::prompt("x"));
    reply.next().await.unwrap().unwrap();
    assert_eq!((client.snapshot().endpoints[0].in_flight, simulator.stats().in_flight), (1, 1));
    drop(reply);
    assert_eq!((client.snapshot().endpoints[0].in_flight, simulator.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whole_replies_may_be_read_as_streams() {
    for model in MODELS {
        let patient = RetryPolicy { max_attempts: 20, ..RetryPolicy::default() };
        let streamed = RetryPolicy { stream: true, ..patient };
        let prompts = || (0..20).map(|n| Request::prompt(format!("prompt {n}")));
        let mut texts = Vec::new();
        for retry in [patient, streamed] {
            let client = client(&[model], &simulator("faults: {cut_body: 0.2, status_503: 0.2}"), retry);
            let outcomes: Vec<_> = client.run(prompts()).collect().await;
            let mut read: Vec<_> =
                outcomes.iter().map(|(o, ())| (o.index, o.text().unwrap().to_owned(), o.usage())).collect();
            read.sort_by_key(|(index, ..)| *index);
            texts.push(read);
        }
        assert_eq!(texts[0], texts[1], "{model}");
        let client = client(&[model], &simulator(""), streamed);
        let embedded = client.send(&Request::embed("x")).await;
        let expected = if model.starts_with("anthropic") { Err(Kind::Unsupported) } else { Ok(()) };
        assert_eq!(embedded.result.map(|_| ()).map_err(|failure| failure.kind), expected, "{model}");
    }
}

/// Says these pieces after these pauses, in seconds, and then nothing any more.
struct Slow(Vec<(u64, Piece)>);

impl Caller for Slow {
    fn call<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(std::future::pending())
    }

    fn stream<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<ReplyStream, Failure>> {
        let pieces = self.0.clone().into_iter();
        let pieces = stream::unfold(pieces, |mut pieces| async move {
            let (pause, piece) = pieces.next()?;
            sleep(Duration::from_secs(pause)).await;
            Some((Ok(piece), pieces))
        });
        Box::pin(async move { Ok(pieces.chain(stream::pending()).boxed()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_be_named_by_the_user() {
    let transport = SimTransport::to(simulator("script: [{contains: tea, times: 1, status: 418}]"));
    let builder = Client::builder().target(Target::new("openai/gpt-5-mini").unwrap()).transport(Arc::new(transport));
    let client = builder.classify(|failure: &Failure| (failure.status == Some(418)).then_some(Kind::Overloaded));
    let outcome = client.build().unwrap().send(&Request::prompt("tea")).await;
    assert!(outcome.result.is_ok());
    assert_eq!(outcome.attempts[0].failure.as_ref().unwrap().kind, Kind::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream_and_a_sign_of_life_does_not() {
    let said = || Piece::Delta(Delta::Text("a".to_owned()));
    let cases = [
        (vec![], 300),
        (vec![(299, Piece::Alive)], 599),
        (vec![(299, Piece::Alive), (299, said())], 658),
        (vec![(299, said()), (59, Piece::Alive), (59, said())], 477),
    ];
    for (pieces, expected) in cases {
        let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
        let client = Client::builder().target(Target::caller("slow", Arc::new(Slow(pieces)))).retry(retry);
        let began = Instant::now();
        let failure = client.build().unwrap().stream(&Request::prompt("x")).outcome().await.result.unwrap_err();
        assert_eq!((failure.kind, began.elapsed().as_secs()), (Kind::Timeout, expected));
    }
}

/// Says "a" after a tenth of a second and "b" after another; from one call on it never begins.
struct Begins {
    calls: AtomicUsize,
    good: usize,
}

impl Caller for Begins {
    fn call<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(std::future::pending())
    }

    fn stream<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<ReplyStream, Failure>> {
        let hangs = self.calls.fetch_add(1, Ordering::Relaxed) >= self.good;
        let said = |text: &str| Piece::Delta(Delta::Text(text.to_owned()));
        let pieces = [said("a"), said("b"), Piece::Done(Box::new(Response::text("ab")))];
        let pieces = stream::iter(pieces).then(move |piece| async move {
            sleep(Duration::from_millis(if hangs { 1 << 30 } else { 100 })).await;
            Ok(piece)
        });
        Box::pin(async move { Ok(pieces.boxed()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_begin_is_begun_elsewhere_and_nothing_is_said_twice() {
    let limits = Limits { concurrency: Some(40), ..Limits::default() };
    let target = |name, good| {
        let caller = Begins { calls: AtomicUsize::new(0), good };
        Target::caller(name, Arc::new(caller)).limits(limits)
    };
    let retry = RetryPolicy { hedge: Some(0.02), ..RetryPolicy::default() };
    let builder = Client::builder().target(target("first", 40)).target(target("second", usize::MAX)).retry(retry);
    let client = builder.build().unwrap();
    for _ in 0..40 {
        assert_eq!(client.stream(&Request::prompt("x")).outcome().await.text(), Ok("ab"));
    }
    let began = Instant::now();
    let mut reply = client.stream(&Request::prompt("x"));
    let mut deltas = Vec::new();
    while let Some(delta) = reply.next().await {
        deltas.push(delta.unwrap());
    }
    assert_eq!(text(&deltas), "ab");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let outcome = reply.outcome().await;
    let [lost, won] = &outcome.attempts[..] else { panic!("{:?}", outcome.attempts) };
    assert_eq!((&*lost.endpoint, &*won.endpoint), ("first", "second"));
    assert_eq!(lost.failure.as_ref().map(|failure| failure.kind), Some(Kind::Timeout));
    assert_eq!(client.retry_stats().copies, 1);
    assert!(client.snapshot().endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
}

/// Says its pieces and then breaks off, falls silent, or is done; remembers what it was asked.
struct Speaks {
    pieces: &'static [&'static str],
    end: End,
    asked: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone, Copy)]
enum End {
    Done,
    Cut,
    Silent,
}

impl Caller for Speaks {
    fn call<'a>(&'a self, _: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(std::future::pending())
    }

    fn stream<'a>(&'a self, request: &'a Request, _: Try<'a>) -> BoxFuture<'a, Result<ReplyStream, Failure>> {
        self.asked.lock().unwrap().push(request.clone());
        let said = self.pieces.iter().map(|text| Ok(Piece::Delta(Delta::Text((*text).to_owned()))));
        let usage = Usage { input_tokens: 1000, output_tokens: 100, ..Usage::default() };
        let done = Piece::Done(Box::new(Response::text(self.pieces.concat()).with_usage(usage)));
        let end = match self.end {
            End::Done => stream::iter([Ok(done)]).boxed(),
            End::Cut => stream::iter([Err(Failure::new(Kind::Cut, "broke"))]).boxed(),
            End::Silent => stream::pending().boxed(),
        };
        let reply = stream::iter(said).chain(end);
        Box::pin(async move { Ok(reply.boxed()) })
    }
}

/// Streams a request to speakers in their order, each with a price of 1 $ per million tokens.
async fn heard(
    speakers: Vec<(&'static [&'static str], End)>,
    request: &Request,
) -> (Vec<Delta>, Outcome, Vec<Request>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let retry = RetryPolicy { switch_streams: true, ..RetryPolicy::default() };
    let names = ["a", "b", "c", "d"];
    let targets = speakers.into_iter().zip(names).map(|((pieces, end), name)| {
        let caller = Speaks { pieces, end, asked: asked.clone() };
        Target::caller(name, Arc::new(caller)).price(Price::new(1.0, 1.0))
    });
    let client = targets.fold(Client::builder().retry(retry), tidegate::ClientBuilder::target).build().unwrap();
    let mut reply = client.stream(request);
    let mut deltas = Vec::new();
    while let Some(delta) = reply.next().await {
        deltas.extend(delta.ok());
    }
    let outcome = reply.outcome().await;
    let asked = asked.lock().unwrap().clone();
    (deltas, outcome, asked)
}

fn switched(from: &str, to: &str) -> Delta {
    Delta::Switched { from: from.into(), to: to.into() }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_goes_on_elsewhere_if_that_is_wanted() {
    let question = Request::prompt("When does the tide turn?").max_tokens(50);
    let speakers: Vec<(&[&str], _)> = vec![
        (&["The tide ", "turns at "], End::Silent),
        (&["noon", " and"], End::Cut),
        (&[" at midnight."], End::Done),
    ];
    let (deltas, outcome, asked) = heard(speakers, &question).await;
    let words = |words: &str| Delta::Text(words.to_owned());
    let pieces = ["The tide ", "turns at ", "noon", " and", " at midnight."].map(words);
    let [a1, a2, b1, b2, c] = pieces;
    assert_eq!(deltas, [a1, a2, switched("a", "b"), b1, b2, switched("b", "c"), c]);
    assert_eq!(outcome.text(), Ok("The tide turns at noon and at midnight."));
    assert_eq!(outcome.warnings().len(), 2, "{:?}", outcome.warnings());
    // Each is asked the question, with what was said and the demand to go on, and nothing else.
    assert_eq!(asked[0], question);
    for (request, said) in [(&asked[1], "The tide turns at "), (&asked[2], "The tide turns at noon and")] {
        let Task::Chat(messages) = &request.task else { panic!() };
        assert_eq!((messages.len(), &messages[1]), (3, &Message::assistant().text(said)));
        assert_eq!(request.params, question.params);
    }
    let [a, b, c] = &outcome.attempts[..] else { panic!("{:?}", outcome.attempts) };
    assert_eq!(
        [&a.partial, &b.partial, &c.partial],
        [&Some("The tide turns at ".into()), &Some("noon and".into()), &None]
    );
    assert_eq!((a.estimated, b.estimated, c.estimated), (true, true, false));
    assert_eq!(a.usage.unwrap().output_tokens, 5);
    let costs = outcome.attempts.iter().map(|attempt| attempt.cost.unwrap());
    assert_eq!(outcome.cost(), costs.reduce(|a, b| a + b));
    assert!(outcome.cost() > c.cost);
}

#[tokio::test(start_paused = true)]
async fn what_the_next_voice_repeats_is_not_said_again() {
    let first: &[&str] = &["The tide turns ", "at noon"];
    for (second, text, piece) in [
        (
            &["The ", "tide turns at", " noon, and at midnight"] as &'static [&str],
            "The tide turns at noon, and at midnight",
            ", and at midnight",
        ),
        (&["turns at ", "noon", "."], "The tide turns at noon.", "."),
        (&["The tide turns at noon"], "The tide turns at noon", ""),
    ] {
        let (deltas, outcome, _) = heard(vec![(first, End::Cut), (second, End::Done)], &Request::prompt("x")).await;
        assert_eq!(outcome.text(), Ok(text));
        assert_eq!(self::text(&deltas), text);
        let after = deltas.iter().skip_while(|delta| !matches!(delta, Delta::Switched { .. }));
        assert_eq!(self::text(&after.cloned().collect::<Vec<_>>()), piece);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_only_as_far_as_its_attempts_and_not_where_it_would_be_wrong() {
    let schema = Schema::new(json!({"type": "object"})).unwrap();
    let plain = Request::prompt("x");
    let formed = plain.clone().schema(Arc::new(schema));
    let (_, outcome, asked) = heard(vec![(&["{"], End::Cut), (&["}"], End::Done)], &formed).await;
    assert_eq!((outcome.result.unwrap_err().kind, asked.len()), (Kind::Cut, 1));
    // One that always breaks off after a word more.
    let (deltas, outcome, asked) = heard(vec![(&["word "], End::Cut)], &plain).await;
    assert_eq!((outcome.result.unwrap_err().kind, asked.len()), (Kind::Cut, 5));
    assert!(text(&deltas).starts_with("word "), "{deltas:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_of_every_format_go_on() {
    let retry = RetryPolicy { switch_streams: true, max_attempts: 20, ..RetryPolicy::default() };
    for model in MODELS {
        let client = client(&[model], &simulator("faults: {cut_body: 0.5}"), retry);
        let mut switches = 0;
        for n in 0..10 {
            let mut reply = client.stream(&Request::prompt(format!("What of {n}?")));
            let mut deltas = Vec::new();
            while let Some(delta) = reply.next().await {
                deltas.push(delta.unwrap());
            }
            switches += deltas.iter().filter(|delta| matches!(delta, Delta::Switched { .. })).count();
            let outcome = reply.outcome().await;
            assert_eq!(outcome.text(), Ok(&*text(&deltas)), "{model}");
        }
        assert!(switches > 0, "{model}");
    }
}

/// Says inside a stream that it takes no temperature, as often as one is sent.
struct Cool {
    far: SimTransport,
    seen: Mutex<Vec<bool>>,
}

impl Transport for Cool {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        self.far.send(request)
    }

    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<http::Response<BodyStream>, Failure>> {
        let tuned = String::from_utf8_lossy(request.body()).contains("temperature");
        self.seen.lock().unwrap().push(tuned);
        if !tuned {
            return self.far.open(request);
        }
        let refusal = json!({"error": {"type": "invalid_request_error", "code": "unsupported_parameter",
            "message": "Unsupported parameter: 'temperature' is not supported with this model."}});
        let event = Bytes::from(format!("data: {refusal}\n\n"));
        let body: BodyStream = stream::iter([Ok(event)]).boxed();
        let reply = http::Response::builder().header("content-type", "text/event-stream").body(body).unwrap();
        Box::pin(async move { Ok(reply) })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_inside_a_stream_is_left_out_too() {
    let cool = Arc::new(Cool { far: SimTransport::to(simulator("")), seen: Mutex::default() });
    let client = Client::builder().target(Target::new("openai/gpt-4o").unwrap().key("k")).transport(cool.clone());
    let client = client.build().unwrap();
    let tuned = Request::prompt("x").temperature(0.5);
    assert_eq!(client.stream(&tuned).outcome().await.result.unwrap_err().kind, Kind::BadRequest, "nobody allowed it");
    for _ in 0..2 {
        let outcome = client.stream(&tuned.clone().lossy()).outcome().await;
        assert_eq!(outcome.warnings(), ["left out: temperature, which gpt-4o does not take"]);
    }
    assert_eq!(*cool.seen.lock().unwrap(), [true, true, false, false], "it is known by then");
}
