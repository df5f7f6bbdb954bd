//! What each pure step of a row's way costs: `cargo bench -p tidegate --bench micro`, or with a name to run only that.
//!
//! The steps are those that every row takes, with a row, a reply and a record of ordinary size.

use std::future::poll_fn;
use std::hint::black_box;
use std::io::{self, Write};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::response::Parts;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tidegate::call::provider::Quirks;
use tidegate::call::status;
use tidegate::call::wire::WireId;
use tidegate::run::input::{Input, InputOptions, Row};
use tidegate::run::job::MOST_PENDING;
use tidegate::run::journal::{self, RowHead, Writer};
use tidegate::run::key::{self, KeyRule};
use tidegate::run::output::{OutputOptions, Projection};
use tidegate::run::prompt::{Attached, PromptOptions, Renderer, fingerprint};
use tidegate::run::record::{Answer, Json, Record, write_record};
use tidegate::{Client, Item, Limits, Request, Response, Target, TaskKind, Usage, caller};

const ROW: &str = r#"{"id":"row-00000017","prompt":"Say in one sentence what the number 17 is good for."}"#;
const REPLY: &str = r#"{"id":"chatcmpl-60ac3119414f7b50","object":"chat.completion","created":1795452288,"model":"sim","choices":[{"index":0,"message":{"role":"assistant","content":"It is the number of syllables in a haiku, and so good for poems.","refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":15,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#;
const ROWS: u64 = 1000;
const WAITING: u64 = 100_000;
const BRIEFLY: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    wire(&mut criterion)?;
    wires(&mut criterion)?;
    headers(&mut criterion);
    admission(&mut criterion)?;
    queue(&mut criterion)?;
    records(&mut criterion)?;
    intake(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn wire(criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let wire = WireId::Openai.wire();
    let request =
        Request::prompt("Say in one sentence what the number 17 is good for.").system("Be brief.").max_tokens(60);
    criterion.bench_function("encode", |b| b.iter(|| wire.encode(black_box(&request), "sim", &Quirks::COMMON)));
    let (head, body) = (head()?, Bytes::from_static(REPLY.as_bytes()));
    criterion.bench_function("decode", |b| b.iter(|| wire.decode(TaskKind::Chat, black_box(&head), black_box(&body))));
    Ok(())
}

/// A chat whose question and answer have 1 KB each, in every format: what the client does before and after a call.
fn wires(criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let kilobyte = "The moon pulls, and the sea follows. ".repeat(28);
    let request = Request::prompt(&kilobyte[..1024]).system("Be brief.").max_tokens(300);
    let (head, said) = (head()?, json!(&kilobyte[..1024]));
    let mut group = criterion.benchmark_group("a chat of 1 KB");
    for id in WIRES {
        let (wire, reply) = (id.wire(), Bytes::from(reply(id, &said).to_string()));
        wire.decode(TaskKind::Chat, &head, &reply)?;
        group.bench_function(format!("encode for {}", id.name()), |b| {
            b.iter(|| wire.encode(black_box(&request), "model-1", &Quirks::COMMON));
        });
        group.bench_function(format!("decode from {}", id.name()), |b| {
            b.iter(|| wire.decode(TaskKind::Chat, black_box(&head), black_box(&reply)));
        });
    }
    group.finish();
    Ok(())
}

const WIRES: [WireId; 6] =
    [WireId::Openai, WireId::Responses, WireId::Anthropic, WireId::Gemini, WireId::Bedrock, WireId::BedrockInvoke];

/// Returns a reply as it comes, with the fields that a provider sends.
fn reply(wire: WireId, text: &Value) -> Value {
    match wire {
        WireId::Responses => {
            json!({"id": "resp_60ac", "object": "response", "created_at": 1795452288, "status": "completed",
            "error": null, "incomplete_details": null, "model": "gpt-5-mini", "output": [{"type": "message", "id": "msg_1",
            "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]}],
            "usage": {"input_tokens": 260, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 256,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 516}, "parallel_tool_calls": true, "tools": []})
        }
        WireId::Anthropic | WireId::BedrockInvoke => json!({"id": "msg_60ac", "type": "message", "role": "assistant",
            "model": "claude-haiku-4-5", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": {"input_tokens": 260, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": 256, "service_tier": "standard"}}),
        WireId::Gemini => json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"},
            "finishReason": "STOP", "index": 0}], "usageMetadata": {"promptTokenCount": 260, "candidatesTokenCount": 256,
            "totalTokenCount": 516, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 260}]},
            "modelVersion": "gemini-2.5-flash", "responseId": "60ac"}),
        WireId::Bedrock => json!({"output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn", "usage": {"inputTokens": 260, "outputTokens": 256, "totalTokens": 516},
            "metrics": {"latencyMs": 812}}),
        _ => json!({"id": "chatcmpl-60ac", "object": "chat.completion", "created": 1795452288, "model": "gpt-5-mini",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": null},
            "finish_reason": "stop"}], "usage": {"prompt_tokens": 260, "completion_tokens": 256, "total_tokens": 516,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}}),
    }
}

fn head() -> Result<Parts, http::Error> {
    let reply = http::Response::builder().header("content-type", "application/json").header("x-request-id", "req_17");
    Ok(reply.body(())?.into_parts().0)
}

/// The hint of a refused call, in both of its forms.
fn headers(criterion: &mut Criterion) {
    for (name, header, value) in [
        ("retry hint: seconds", "retry-after", "20"),
        ("retry hint: date", "retry-after", "Mon, 23 Nov 2026 16:45:00 GMT"),
    ] {
        let date = HeaderValue::from_static("Mon, 23 Nov 2026 16:44:48 GMT");
        let mut headers = HeaderMap::from_iter([(http::header::DATE, date)]);
        headers.insert(header, HeaderValue::from_static(value));
        criterion.bench_function(name, |b| b.iter(|| status::retry_after(black_box(&headers))));
    }
}

/// A thousand requests that are answered at once: what is left is the queue, admission, settling and the outcome.
fn admission(criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let usage = Usage { input_tokens: 12, output_tokens: 15, ..Usage::default() };
    let at_once = caller(move |_| async move { Ok(Response::text("yes").with_usage(usage)) });
    let limits = Limits { concurrency: Some(256), rpm: Some(1e9), tpm: Some(1e12), ..Limits::default() };
    let client = Client::builder().target(Target::caller("mine", at_once).limits(limits)).build()?;
    let mut group = criterion.benchmark_group("run");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("admit and settle", |b| {
        b.iter(|| {
            let run = client.run((0..ROWS).map(|_| Request::prompt("17")));
            runtime.block_on(run.count())
        });
    });
    group.finish();
    Ok(())
}

/// A hundred thousand requests in ten classes that all wait for sixteen places: what one costs to join the queue, and from
/// there to its outcome, the call and its settling included. Making the futures is not. In CPU time, so that other
/// work on the machine does not count.
fn queue(criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let after_others = caller(move |_| async move {
        tokio::task::yield_now().await;
        Ok(Response::text("yes"))
    });
    let limits = Limits { concurrency: Some(16), ..Limits::default() };
    let client = Client::builder().target(Target::caller("mine", after_others).limits(limits)).build()?;
    let items: Vec<_> = (0..10).map(|class| Item::from(Request::prompt("17")).priority(class)).collect();
    // Returns the time of both parts.
    let round = async || {
        let mut sends: FuturesUnordered<_> =
            (0..WAITING).map(|i| client.send_item(&items[i as usize * 7 % items.len()])).collect();
        let made = on_cpu();
        // One poll of all: sixteen are called, and the others wait.
        let none = poll_fn(|context| Poll::Ready(sends.poll_next_unpin(context).is_pending())).await;
        assert!(none, "somebody waits for a place");
        let joined = on_cpu();
        assert_eq!(sends.count().await, WAITING as usize);
        (joined - made, on_cpu() - joined)
    };
    let mut group = criterion.benchmark_group("queue");
    let both = |rounds: u64| (0..rounds).map(|_| runtime.block_on(round()));
    // Of a round's time only one part is counted, so that more would take minutes.
    group.throughput(Throughput::Elements(WAITING)).sample_size(10).warm_up_time(BRIEFLY).measurement_time(BRIEFLY);
    group.bench_function("join", |b| b.iter_custom(|rounds| both(rounds).map(|(join, _)| join).sum()));
    group
        .bench_function("admit, call and settle", |b| b.iter_custom(|rounds| both(rounds).map(|(_, rest)| rest).sum()));
    group.finish();
    Ok(())
}

/// Returns how long this thread has been on a CPU.
#[expect(clippy::unwrap_used, reason = "a measurement without a clock is none")]
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn record() -> Record<'static> {
    Record {
        id: Some(Json::known(r#""row-00000017""#)),
        input: Some(Json::known(ROW)),
        output: Some(Answer::Text("It is the number of syllables in a haiku, and so good for poems.".into())),
        model: Some("openai/sim".into()),
        sample: None,
        endpoint: Some("openai/sim".into()),
        finish_reason: Some("stop".into()),
        usage: Some(Usage { input_tokens: 12, output_tokens: 15, ..Usage::default() }),
        cost: None,
        latency: Duration::from_micros(211_437),
        attempts: 1,
        request_id: Some("req_17".into()),
        fallback: false,
        cached: false,
        shared: false,
        packed: None,
        calls: None,
        checked: None,
        warnings: Vec::new(),
        error: None,
    }
}

fn records(criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let (record, mut line) = (record(), Vec::new());
    criterion.bench_function("write a record", |b| {
        b.iter(|| {
            line.clear();
            write_record(black_box(&record), &mut line);
        });
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let writer = Writer::stream(Projection::new(&OutputOptions::default())?, io::sink())?;
    let head = RowHead { key: 17, raw: 17, request: 17, sample: 0, replaces: false, failed: None, model: "openai/sim" };
    let row = journal::Row { head, record: &line, detail: None };
    criterion.bench_function("append to the journal", |b| {
        b.iter(|| {
            if writer.pending_bytes() > MOST_PENDING {
                runtime.block_on(writer.wait_below(MOST_PENDING / 2));
            }
            writer.append(black_box(&row))
        });
    });
    writer.close()?;
    Ok(())
}

/// The reader's thread: from a file to requests.
fn intake(criterion: &mut Criterion) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile()?;
    for _ in 0..ROWS {
        writeln!(file, "{ROW}")?;
    }
    let options = InputOptions { paths: vec![file.path().display().to_string()], ..InputOptions::default() };
    let template = Some(("Answer briefly: {{ prompt }}".to_owned(), "-p".to_owned()));
    let prompt = PromptOptions { template, ..PromptOptions::default() };
    let renderer = Renderer::new(&prompt, Input::open(&options)?.columns())?;
    let mut group = criterion.benchmark_group("input");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("split", |b| b.iter(|| rows(&options, |_| Ok(()))));
    group.bench_function("split and find the id", |b| {
        let rule = KeyRule::default();
        b.iter(|| rows(&options, |row| key::peek(row.text()?, &rule, 0).map(|_| ())));
    });
    group.bench_function("split, render and fingerprint", |b| {
        let made = |row: &Row| renderer.render(row, Attached::default()).map(|made| fingerprint(&made.request, 0));
        b.iter(|| rows(&options, |row| made(row).map(|print| _ = black_box(print))));
    });
    group.finish();
    Ok(())
}

/// Reads all rows and returns how many of them were good.
fn rows(options: &InputOptions, mut visit: impl FnMut(&Row) -> Result<(), String>) -> tidegate::Result<u64> {
    let (mut input, mut good) = (Input::open(options)?, 0);
    while let Some(row) = input.next_row()? {
        good += u64::from(visit(&row).is_ok());
    }
    Ok(good)
}
