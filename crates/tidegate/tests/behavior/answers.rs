//! What a provider answers when all is well.
//!
//! The prompts are such that a real model and the simulated one, which echoes, can both be held to the same answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tidegate::call::wire::WireId;
use tidegate::{
    Client, Delta, Finish, Media, MediaKind, Message, Output, Reasoning, Request, Response, RetryPolicy, Schema,
    TaskKind,
};

use super::place::{Need, Place};
use super::{Behavior, behavior};

/// A tool's call or an answer in a form is not asked of a provider that only echoes; it follows the schema, or, where the
/// schema stands in the prompt alone, this script.
const TOLD: &str = r#"script: [{contains: "satisfies this JSON Schema", reply: '{"city": "Ulm", "metres": 478}'}]"#;

pub(crate) const BEHAVIORS: &[Behavior] = &[
    behavior("answers", &[], "", |place| Box::pin(answers(place))),
    behavior("obeys a system prompt", &[], "", |place| Box::pin(system(place))),
    behavior("goes on with a conversation", &[], "", |place| Box::pin(conversation(place))),
    behavior("calls a tool and takes its result", &[], "", |place| Box::pin(tool(place))),
    behavior("answers in a form", &[], TOLD, |place| Box::pin(form(place))),
    behavior("tells its thoughts beside the answer", &[Need::Thoughts, Need::Stream], "", |place| {
        Box::pin(thoughts(place))
    }),
    behavior("sees an image", &[Need::Images], "", |place| Box::pin(image(place))),
    behavior("stops at the output limit", &[], "", |place| Box::pin(limit(place))),
    behavior("tells usage, model and request id", &[], "", |place| Box::pin(told(place))),
    behavior("streams what it would say at once", &[Need::Stream], "", |place| Box::pin(stream(place))),
    behavior("streams a tool's call", &[Need::Stream], "", |place| Box::pin(streamed_tool(place))),
    behavior("streams its stop at the output limit", &[Need::Stream], "", |place| Box::pin(streamed_limit(place))),
    behavior(
        "goes on with a stream that broke off",
        &[Need::Stream, Need::Simulated],
        "faults: {cut_body: 0.5}",
        |place| Box::pin(broken_stream(place)),
    ),
    behavior("takes a body of OpenAI's", &[], "", |place| Box::pin(foreign(place))),
    behavior("keeps all answers of a body that asks for several", &[Need::Choices], "", |place| {
        Box::pin(choices(place))
    }),
    behavior("embeds", &[Need::Embeddings], "", |place| Box::pin(embeds(place))),
];

/// Not little, as the reasoning of a real model counts too.
const ENOUGH: u32 = 2000;

fn word() -> Request {
    Request::prompt("Say the word 'tide' and nothing else.").max_tokens(ENOUGH)
}

async fn response(place: &Place, request: Request) -> Response {
    place.ask(request).await.result.unwrap()
}

fn says(response: &Response, word: &str) -> bool {
    matches!(&response.output, Output::Text(text) if text.to_lowercase().contains(word))
}

async fn answers(place: Place) {
    let response = response(&place, word()).await;
    assert!(says(&response, "tide") && response.finish == Finish::Stop, "{response:?}");
    assert!(serde_json::from_slice::<Value>(&response.raw).unwrap().is_object());
}

async fn system(place: Place) {
    let alone = response(&place, word()).await;
    let led =
        response(&place, word().system("You speak English, and you never use a number where a word will do.")).await;
    let tokens = |response: &Response| response.usage.unwrap().input_tokens;
    assert!(says(&led, "tide") && tokens(&led) >= tokens(&alone) + 10, "{alone:?} {led:?}");
}

async fn conversation(place: Place) {
    let turns = vec![
        Message::user().text("My boat is called Meltemi."),
        Message::assistant().text("What a fine name!"),
        Message::user().text("Say the word 'tide' and, if you still know it, my boat's name, Meltemi."),
    ];
    let last = Request::chat(turns[2..].to_vec()).max_tokens(ENOUGH);
    let (last, all) = (response(&place, last).await, response(&place, Request::chat(turns).max_tokens(ENOUGH)).await);
    let tokens = |response: &Response| response.usage.unwrap().input_tokens;
    assert!(says(&all, "meltemi") && tokens(&all) >= tokens(&last) + 8, "{last:?} {all:?}");
}

fn height() -> Request {
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Ulm"]}}, "required": ["city"],
        "additionalProperties": false});
    let function =
        json!({"name": "height", "description": "The height of a city in metres.", "parameters": parameters});
    Request::prompt("How high is Ulm?")
        .max_tokens(ENOUGH)
        .param("tools", json!([{"type": "function", "function": function}]))
}

fn forced(request: Request) -> Request {
    request.param("tool_choice", json!({"type": "function", "function": {"name": "height"}}))
}

async fn tool(place: Place) {
    let called = response(&place, forced(height())).await;
    assert_eq!(called.finish, Finish::ToolCalls, "{called:?}");
    let calls: Vec<_> = called.tool_calls().collect();
    assert_eq!((calls.len(), &*calls[0].name, &calls[0].input), (1, "height", &json!({"city": "Ulm"})));
    let turns = vec![
        Message::user().text("How high is Ulm?"),
        called.message(),
        Message::user().tool_result(&calls[0].id, "478 metres"),
    ];
    let mut again = Request::chat(turns);
    again.params = height().params;
    let answered = response(&place, again).await;
    assert!(matches!(&answered.output, Output::Text(text) if !text.is_empty()), "{answered:?}");
}

async fn form(place: Place) {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"},
        "metres": {"type": "integer", "minimum": 1}}, "required": ["city", "metres"], "additionalProperties": false});
    let schema = std::sync::Arc::new(Schema::new(schema).unwrap());
    let asked = Request::prompt("How high is Ulm?").max_tokens(ENOUGH).schema(schema.clone());
    let outcome = place.ask(asked).await;
    let response = outcome.result.unwrap();
    let Output::Json(value) = &response.output else { panic!("{response:?}") };
    assert_eq!(schema.faults(value), [], "{value}");
    let checked = outcome.checked.unwrap();
    assert!(!place.enforces() || checked.asks == 1, "an enforced form was asked for {} times", checked.asks);
}

async fn thoughts(place: Place) {
    let (name, value) = match place.wire {
        WireId::Openai => ("reasoning_effort", json!("low")),
        WireId::Responses => ("reasoning", json!({"effort": "low", "summary": "auto"})),
        WireId::Gemini => ("thinkingConfig", json!({"includeThoughts": true})),
        _ => ("thinking", json!({"type": "enabled", "budget_tokens": 1024})),
    };
    let whole = response(&place, word().param(name, value.clone())).await;
    let (deltas, streamed) = pieces(&place, &word().param(name, value)).await;
    let told = joined(&deltas, |delta| match delta {
        Delta::Reasoning(more) => Some(more),
        _ => None,
    });
    let thought = |response: &Response| match response.reasoning().next().unwrap() {
        Reasoning::Text { text, .. } => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(!told.is_empty() && told == thought(&streamed) && told == thought(&whole), "{told} {whole:?}");
    assert!(says(&whole, "tide") && !says(&whole, &told.to_lowercase()) && whole.output == streamed.output);
    assert_eq!(whole.usage, streamed.usage);
    // Bedrock's own format does not count them apart.
    assert!(place.wire == WireId::Bedrock || whole.usage.unwrap().reasoning_tokens > 0);
}

/// A red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

async fn image(place: Place) {
    let asked = || Message::user().text("Say the word 'tide', and the colour of the image if there is one.");
    let png = Media::base64("image/png", PNG).unwrap();
    let blind = response(&place, Request::chat(vec![asked()]).max_tokens(ENOUGH)).await;
    let seen = response(&place, Request::chat(vec![asked().media(MediaKind::Image, png)]).max_tokens(ENOUGH)).await;
    assert!(says(&seen, "tide") && seen.warnings.is_empty(), "{seen:?}");
    assert!(seen.usage.unwrap().input_tokens > blind.usage.unwrap().input_tokens, "{blind:?} {seen:?}");
}

/// 16 is the least that OpenAI's Responses take.
fn long() -> Request {
    Request::prompt("Count from one to two hundred in words, and do not leave out a single number.").max_tokens(16)
}

async fn limit(place: Place) {
    let response = response(&place, long()).await;
    assert_eq!(response.finish, Finish::Length, "{response:?}");
    assert!(response.usage.unwrap().output_tokens <= 16, "{response:?}");
}

async fn told(place: Place) {
    let outcome = place.ask(word()).await;
    let (attempt, response) = (outcome.attempts[0].clone(), outcome.result.unwrap());
    let usage = response.usage.unwrap();
    assert!(usage.input_tokens > 0 && usage.output_tokens > 0, "{usage:?}");
    assert_eq!(attempt.usage, Some(usage));
    assert!(!response.model.is_empty() && response.request_id.is_some_and(|id| !id.is_empty()));
}

/// Takes a reply piece by piece.
async fn pieces(place: &Place, request: &Request) -> (Vec<Delta>, Response) {
    let client = place.client(place.target(&place.model));
    let mut reply = client.stream(request);
    let mut deltas = Vec::new();
    while let Some(delta) = reply.next().await {
        deltas.push(delta.unwrap());
    }
    (deltas, reply.outcome().await.result.unwrap())
}

fn joined(deltas: &[Delta], part: fn(&Delta) -> Option<&str>) -> String {
    deltas.iter().filter_map(part).collect()
}

fn text(delta: &Delta) -> Option<&str> {
    if let Delta::Text(text) = delta { Some(text) } else { None }
}

async fn stream(place: Place) {
    let asked =
        Request::prompt("Say the word 'tide' first, and then a sentence about the sea that is long enough to be cut.");
    let asked = asked.max_tokens(ENOUGH);
    let (deltas, streamed) = pieces(&place, &asked).await;
    assert_eq!(Output::Text(joined(&deltas, text)), streamed.output);
    assert!(says(&streamed, "tide") && deltas.iter().filter(|delta| text(delta).is_some()).count() > 1, "{deltas:?}");
    let ends = [Delta::Usage(streamed.usage.unwrap()), Delta::Finish(Finish::Stop)];
    assert!(deltas.ends_with(&ends), "{deltas:?}");
    assert!(streamed.request_id.is_some() && !streamed.model.is_empty());
    if !place.live {
        // Only an echo says the same twice.
        let whole = response(&place, asked).await;
        assert_eq!((streamed.output, streamed.usage, streamed.model), (whole.output, whole.usage, whole.model));
    }
}

/// Asks until a stream has broken off after its first piece.
async fn broken_stream(place: Place) {
    let (max_attempts, backoff) = (30, Duration::from_millis(1));
    let retry = RetryPolicy { max_attempts, backoff, switch_streams: true, ..RetryPolicy::default() };
    let client = Client::builder().target(place.target(&place.model)).retry(retry).build().unwrap();
    for n in 0..50 {
        let mut reply = client.stream(&Request::prompt(format!("What is the tide's number {n}?")).max_tokens(ENOUGH));
        let mut deltas = Vec::new();
        while let Some(delta) = reply.next().await {
            deltas.push(delta.unwrap());
        }
        let outcome = reply.outcome().await;
        assert_eq!(outcome.text(), Ok(&*joined(&deltas, text)), "{deltas:?}");
        if deltas.iter().any(|delta| matches!(delta, Delta::Switched { .. })) {
            let broken = outcome.attempts.iter().find(|attempt| attempt.partial.is_some()).unwrap();
            assert!(broken.estimated && broken.usage.unwrap().input_tokens > 0, "{broken:?}");
            return;
        }
    }
    panic!("no stream broke off");
}

async fn streamed_tool(place: Place) {
    let (deltas, streamed) = pieces(&place, &forced(height())).await;
    let arguments = joined(&deltas, |delta| match delta {
        Delta::ToolCall { arguments, .. } => Some(arguments),
        _ => None,
    });
    let names: Vec<_> = deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::ToolCall { name, .. } => name.as_deref(),
            _ => None,
        })
        .collect();
    assert_eq!((names, serde_json::from_str::<Value>(&arguments).unwrap()), (vec!["height"], json!({"city": "Ulm"})));
    assert_eq!(streamed.tool_calls().next().unwrap().input, json!({"city": "Ulm"}));
    assert_eq!(streamed.finish, Finish::ToolCalls);
}

async fn streamed_limit(place: Place) {
    let (deltas, streamed) = pieces(&place, &long()).await;
    assert_eq!((deltas.last(), streamed.finish), (Some(&Delta::Finish(Finish::Length)), Finish::Length));
}

async fn foreign(place: Place) {
    let body = json!({"model": "x", "max_tokens": ENOUGH, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say the word 'tide'."}]});
    let request = Request::original(WireId::Openai, TaskKind::Chat, body.to_string());
    let response = response(&place, request).await;
    assert!(says(&response, "tide"), "{response:?}");
}

async fn choices(place: Place) {
    let body = json!({"model": "x", "n": 3, "messages": [{"role": "user", "content": "Say the word 'tide'."}]});
    let request = Request::original(WireId::Openai, TaskKind::Chat, body.to_string());
    for stream in [false, true] {
        let retry = RetryPolicy { max_attempts: 1, stream, ..RetryPolicy::default() };
        let client = Client::builder().target(place.target(&place.model)).retry(retry).build().unwrap();
        let response = client.send(&request).await.result.unwrap();
        let Output::Json(Value::Array(answers)) = &response.output else { panic!("{response:?}") };
        assert!(answers.len() == 3 && answers.iter().all(Value::is_string), "streamed: {stream}: {answers:?}");
        let raw: Value = serde_json::from_slice(&response.raw).unwrap();
        assert_eq!(raw["choices"].as_array().unwrap().len(), 3, "streamed: {stream}");
    }
}

async fn embeds(place: Place) {
    let client = place.client(place.target(&place.embedding));
    let (a, b) = (Request::embed("ebb"), Request::embed("flow"));
    let (Output::Embedding(ebb), Output::Embedding(flow)) =
        (client.send(&a).await.result.unwrap().output, client.send(&b).await.result.unwrap().output)
    else {
        panic!("no vectors")
    };
    assert!(ebb.len() > 1 && ebb.len() == flow.len() && ebb != flow);
    assert!(ebb.iter().chain(&flow).all(|number| number.is_finite()));
}
