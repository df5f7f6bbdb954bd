//! What a provider's refusals and failures mean: those that anybody can provoke, and real replies, word for word.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tidegate::call::wire::WireId;
use tidegate::{Client, Failure, Kind, Request, RetryPolicy};

use super::place::{Need, Place};
use super::{Behavior, behavior};

pub(crate) const BEHAVIORS: &[Behavior] = &[
    behavior("refuses a wrong key", &[], "", |place| Box::pin(wrong_key(place))),
    behavior("does not know an unknown model", &[], "", |place| Box::pin(unknown_model(place))),
    behavior("refuses a request without messages", &[], "", |place| Box::pin(no_messages(place))),
    behavior("says how long a limit lasts", &[Need::Simulated], "limits: [{of: requests, limit: 1}]", |place| {
        Box::pin(limited(place))
    }),
    behavior(
        "tells a day's quota from a minute's",
        &[Need::Simulated],
        "limits: [{of: requests, limit: 1, per_s: 86400, shape: fixed_window}]",
        |place| Box::pin(day_quota(place)),
    ),
    behavior("is overloaded", &[Need::Simulated], "faults: {status_529: 1}", |place| Box::pin(overloaded(place))),
    behavior("fails", &[Need::Simulated], "faults: {status_500: 1}", |place| Box::pin(fails(place))),
    behavior("filters content", &[Need::Simulated], "faults: {content_filter: 1}", |place| Box::pin(filters(place))),
];

async fn failure(client: Client) -> Failure {
    client.send(&Request::prompt("Say the word 'tide'.").max_tokens(100)).await.result.unwrap_err()
}

async fn wrong_key(place: Place) {
    let failure = failure(place.client(place.stranger())).await;
    assert_eq!(failure.kind, Kind::Auth, "{failure:?}");
    assert!(!failure.message.contains("sk-unknown"), "{failure:?}");
}

async fn unknown_model(place: Place) {
    let unknown = if place.model.contains("anthropic.") { "anthropic.no-such-model-v1:0" } else { "no-such-model" };
    let failure = failure(place.client(place.target(unknown))).await;
    assert_eq!(failure.kind, Kind::NotFound, "{failure:?}");
}

async fn no_messages(place: Place) {
    let outcome = place.ask(Request::chat(Vec::new()).max_tokens(100)).await;
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.kind, Kind::BadRequest, "{failure:?}");
}

/// Asks twice, in the name of two clients that know nothing of each other.
async fn second(place: &Place) -> Failure {
    let asked = Request::prompt("Say the word 'tide'.").max_tokens(100);
    assert!(place.ask(asked).await.result.is_ok());
    failure(place.client(place.target(&place.model))).await
}

async fn limited(place: Place) {
    let failure = second(&place).await;
    let hint = failure.retry_after.unwrap_or_default().as_secs();
    assert!(failure.kind == Kind::RateLimited && (55..=60).contains(&hint), "{failure:?}");
}

async fn day_quota(place: Place) {
    assert_eq!(second(&place).await.kind, Kind::DayQuota);
}

async fn overloaded(place: Place) {
    assert_eq!(failure(place.client(place.target(&place.model))).await.kind, Kind::Overloaded);
}

async fn fails(place: Place) {
    assert_eq!(failure(place.client(place.target(&place.model))).await.kind, Kind::ServerError);
}

async fn filters(place: Place) {
    let failure = failure(place.client(place.target(&place.model))).await;
    assert_eq!(failure.kind, Kind::ContentFilter, "{failure:?}");
}

/// Who says something.
enum By {
    /// Everybody who speaks this format.
    Wire(WireId),
    /// This provider.
    Provider(&'static str),
}

/// A reply that reports a failure.
pub(crate) struct Said {
    pub(crate) what: &'static str,
    by: By,
    status: u16,
    body: &'static str,
    kind: Kind,
    /// How long to wait, where the body says so.
    wait_ms: Option<u64>,
}

impl Said {
    pub(crate) fn scenario(&self) -> String {
        let body = serde_json::to_string(self.body).unwrap();
        format!("script: [{{contains: '', status: {}, body: {body}}}]", self.status)
    }
}

/// Returns what a place may say.
pub(crate) fn said_by(place: &Place) -> impl Iterator<Item = &'static Said> {
    let (wire, name, live) = (place.wire, place.provider.name, place.live);
    SAID.iter().filter(move |said| match said.by {
        _ if live => false,
        By::Wire(speaks) => speaks == wire,
        // Its other formats have bodies of their own.
        By::Provider(provider) => provider == name && wire == WireId::Openai,
    })
}

/// Checks what is made of it, whether the answer was wanted whole or in pieces.
pub(crate) async fn understood(place: Place, said: &'static Said) {
    for stream in [false, true] {
        let retry = RetryPolicy { max_attempts: 1, max_rate_limit_retries: Some(0), stream, ..RetryPolicy::default() };
        let client = Client::builder().target(place.target(&place.model)).retry(retry).build().unwrap();
        let failure = failure(client).await;
        assert_eq!((failure.kind, failure.status), (said.kind, Some(said.status)), "streamed: {stream}: {failure:?}");
        assert_eq!(failure.retry_after, said.wait_ms.map(Duration::from_millis), "streamed: {stream}: {failure:?}");
        assert!(!failure.message.is_empty() && !failure.message.contains("\"error\""), "{failure:?}");
    }
}

const fn said(what: &'static str, by: By, status: u16, kind: Kind, body: &'static str) -> Said {
    Said { what, by, status, body, kind, wait_ms: None }
}

const fn wait(wait_ms: u64, said: Said) -> Said {
    Said { wait_ms: Some(wait_ms), ..said }
}

const fn openai(what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Wire(WireId::Openai), status, kind, body)
}

const fn responses(what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Wire(WireId::Responses), status, kind, body)
}

const fn anthropic(what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Wire(WireId::Anthropic), status, kind, body)
}

const fn gemini(what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Wire(WireId::Gemini), status, kind, body)
}

const fn bedrock(what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Wire(WireId::Bedrock), status, kind, body)
}

const fn invoke(what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Wire(WireId::BedrockInvoke), status, kind, body)
}

const fn of(provider: &'static str, what: &'static str, status: u16, kind: Kind, body: &'static str) -> Said {
    said(what, By::Provider(provider), status, kind, body)
}

/// Replies as they were met in the wild.
#[rustfmt::skip]
const SAID: &[Said] = &[
    openai("bad request", 400, Kind::BadRequest, r#"{"error":{"message":"Invalid value: 'x'.","type":"invalid_request_error","param":"messages[0].role","code":"invalid_value"}}"#),
    openai("wrong key", 401, Kind::Auth, r#"{"error":{"message":"Incorrect API key provided: sk-***.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#),
    openai("out of region", 403, Kind::Permission, r#"{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#),
    openai("unknown model", 404, Kind::NotFound, r#"{"error":{"message":"The model `x` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#),
    openai("unknown model of LiteLLM's proxy", 400, Kind::NotFound, r#"{"error":{"message":"/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available models for your key.","type":"invalid_request_error","param":null,"code":"400"}}"#),
    openai("context too long", 400, Kind::TooLong, r#"{"error":{"message":"Input tokens exceed the configured limit of 272000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#),
    openai("body too large", 413, Kind::TooLong, r#"{"error":{"message":"Request entity too large","type":"invalid_request_error","param":null,"code":null}}"#),
    openai("larger than the limit", 429, Kind::TooLong, r#"{"error":{"message":"Request too large for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#),
    wait(20_000, openai("limit a minute", 429, Kind::RateLimited, r#"{"error":{"message":"Rate limit reached for gpt-5 in organization org-x on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#)),
    openai("limit a day", 429, Kind::DayQuota, r#"{"error":{"message":"Rate limit reached for gpt-5 in organization org-x on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#),
    openai("out of credit", 429, Kind::OutOfCredit, r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#),
    openai("content filter", 400, Kind::ContentFilter, r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#),
    openai("server error", 500, Kind::ServerError, r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#),
    openai("overload", 503, Kind::Overloaded, r#"{"error":{"message":"The server is currently overloaded.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#),
    openai("refusal inside a success", 200, Kind::ContentFilter, r#"{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":null,"refusal":"I can't help with that."}}]}"#),
    openai("failure inside a success", 200, Kind::RateLimited, r#"{"error":{"code":429,"message":"Rate limit exceeded"}}"#),
    openai("a proxy's page", 502, Kind::ServerError, "<html><body>502 Bad Gateway</body></html>"),

    responses("bad request", 400, Kind::BadRequest, r#"{"error":{"message":"Unsupported parameter: 'stop'.","type":"invalid_request_error","param":"stop","code":"unsupported_parameter"}}"#),
    responses("wrong key", 401, Kind::Auth, r#"{"error":{"message":"Incorrect API key provided: sk-***.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#),
    responses("no permission", 403, Kind::Permission, r#"{"error":{"message":"You are not allowed to use this model.","type":"invalid_request_error","param":null,"code":null}}"#),
    responses("unknown model", 404, Kind::NotFound, r#"{"error":{"message":"The model `x` does not exist.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#),
    responses("context too long", 400, Kind::TooLong, r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#),
    wait(1_200, responses("limit a minute", 429, Kind::RateLimited, r#"{"error":{"message":"Rate limit reached for gpt-5 on tokens per min (TPM). Please try again in 1.2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#)),
    responses("out of credit", 429, Kind::OutOfCredit, r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#),
    responses("server error", 500, Kind::ServerError, r#"{"error":{"message":"The server had an error.","type":"server_error","param":null,"code":null}}"#),
    responses("failure inside a success", 200, Kind::ServerError, r#"{"id":"r","object":"response","status":"failed","error":{"code":"server_error","message":"The model failed."},"output":[]}"#),
    responses("limit inside a success", 200, Kind::RateLimited, r#"{"id":"r","object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"Slow down."},"output":[]}"#),
    responses("content filter inside a success", 200, Kind::ContentFilter, r#"{"id":"r","object":"response","status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}"#),

    anthropic("bad request", 400, Kind::BadRequest, r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: roles must alternate"},"request_id":"req_1"}"#),
    anthropic("wrong key", 401, Kind::Auth, r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_1"}"#),
    anthropic("no permission", 403, Kind::Permission, r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#),
    anthropic("unknown model", 404, Kind::NotFound, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#),
    anthropic("context too long", 400, Kind::TooLong, r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#),
    anthropic("body too large", 413, Kind::TooLong, r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#),
    anthropic("limit a minute", 429, Kind::RateLimited, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50 requests per minute"}}"#),
    anthropic("spending limit", 429, Kind::OutOfCredit, r#"{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your spend limit.","details":{"error_code":"enforced_spend_limit_reached"}}}"#),
    anthropic("out of credit", 400, Kind::OutOfCredit, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#),
    anthropic("billing", 402, Kind::OutOfCredit, r#"{"type":"error","error":{"type":"billing_error","message":"There is an issue with your billing."}}"#),
    anthropic("content filter", 400, Kind::ContentFilter, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#),
    anthropic("server error", 500, Kind::ServerError, r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#),
    anthropic("timeout", 504, Kind::Timeout, r#"{"type":"error","error":{"type":"timeout_error","message":"Request timed out"}}"#),
    anthropic("overload", 529, Kind::Overloaded, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
    anthropic("refusal inside a success", 200, Kind::ContentFilter, r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":null},"usage":{"input_tokens":1,"output_tokens":1}}"#),

    gemini("bad request", 400, Kind::BadRequest, r#"{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"x\"","status":"INVALID_ARGUMENT"}}"#),
    gemini("wrong key", 400, Kind::Auth, r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#),
    gemini("stale token", 401, Kind::Auth, r#"{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED"}}"#),
    gemini("no permission", 403, Kind::Permission, r#"{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}"#),
    gemini("unknown model", 404, Kind::NotFound, r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta","status":"NOT_FOUND"}}"#),
    gemini("context too long", 400, Kind::TooLong, r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#),
    wait(8_940, gemini("limit a minute", 429, Kind::RateLimited, r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaValue":"10"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"8.94s"}]}}"#)),
    gemini("limit a day, whatever its delay says", 429, Kind::DayQuota, r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"250"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"22s"}]}}"#),
    gemini("out of credit", 429, Kind::OutOfCredit, r#"{"error":{"code":429,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}"#),
    gemini("server error", 500, Kind::ServerError, r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#),
    gemini("overload", 503, Kind::Overloaded, r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#),
    gemini("blocked prompt inside a success", 200, Kind::ContentFilter, r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9},"modelVersion":"g"}"#),
    gemini("unsafe answer inside a success", 200, Kind::ContentFilter, r#"{"candidates":[{"finishReason":"SAFETY","index":0}],"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9},"modelVersion":"g"}"#),

    bedrock("bad request", 400, Kind::BadRequest, r#"{"__type":"ValidationException","message":"The text field in the ContentBlock object at messages.0.content.0 is blank."}"#),
    bedrock("wrong key", 403, Kind::Auth, r#"{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}"#),
    bedrock("no permission", 403, Kind::Permission, r#"{"__type":"AccessDeniedException","message":"You don't have access to the model with the specified model ID."}"#),
    bedrock("unknown model", 404, Kind::NotFound, r#"{"__type":"ResourceNotFoundException","message":"Could not resolve the foundation model from the provided model identifier."}"#),
    bedrock("context too long", 400, Kind::TooLong, r#"{"__type":"ValidationException","message":"Input is too long for requested model."}"#),
    bedrock("limit a minute", 429, Kind::RateLimited, r#"{"__type":"ThrottlingException","message":"Too many requests, please wait before trying again."}"#),
    bedrock("limit a day", 429, Kind::DayQuota, r#"{"__type":"ThrottlingException","message":"Too many tokens per day, please wait before trying again."}"#),
    bedrock("server error", 500, Kind::ServerError, r#"{"__type":"InternalServerException","message":"The system encountered an unexpected error during processing."}"#),
    bedrock("overload", 503, Kind::Overloaded, r#"{"__type":"ServiceUnavailableException","message":"Bedrock is unable to process your request."}"#),
    bedrock("a guardrail inside a success", 200, Kind::ContentFilter, r#"{"output":{"message":{"role":"assistant","content":[{"text":"Sorry."}]}},"stopReason":"guardrail_intervened","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}"#),

    invoke("bad request", 400, Kind::BadRequest, r#"{"__type":"ValidationException","message":"messages: roles must alternate"}"#),
    invoke("wrong key", 403, Kind::Auth, r#"{"__type":"InvalidSignatureException","message":"The request signature we calculated does not match the signature you provided."}"#),
    invoke("no permission", 403, Kind::Permission, r#"{"__type":"AccessDeniedException","message":"You don't have access to the model with the specified model ID."}"#),
    invoke("unknown model", 404, Kind::NotFound, r#"{"__type":"ResourceNotFoundException","message":"Could not resolve the foundation model."}"#),
    invoke("context too long", 400, Kind::TooLong, r#"{"__type":"ValidationException","message":"prompt is too long: 210000 tokens > 200000 maximum"}"#),
    invoke("limit a minute", 429, Kind::RateLimited, r#"{"__type":"ThrottlingException","message":"Too many requests, please wait before trying again."}"#),
    invoke("server error", 500, Kind::ServerError, r#"{"__type":"InternalServerException","message":"The system encountered an unexpected error."}"#),
    invoke("refusal inside a success", 200, Kind::ContentFilter, r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[],"stop_reason":"refusal","usage":{"input_tokens":1,"output_tokens":1}}"#),

    of("azure", "a gateway's wrong key", 401, Kind::Auth, r#"{"statusCode":401,"message":"Unauthorized. Access token is missing, invalid, audience is incorrect, or have expired."}"#),
    of("azure", "unknown deployment", 404, Kind::NotFound, r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#),
    wait(37_000, of("azure", "a gateway's limit", 429, Kind::RateLimited, r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 37 seconds."}}"#)),
    of("azure", "a policy", 400, Kind::ContentFilter, r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#),

    of("openrouter", "no credits", 402, Kind::OutOfCredit, r#"{"error":{"code":402,"message":"Insufficient credits","metadata":{"limit_source":"openrouter_credits"}}}"#),
    of("openrouter", "bills under way", 402, Kind::RateLimited, r#"{"error":{"code":402,"message":"In-flight requests exceed your balance","metadata":{"limit_source":"openrouter_in_flight_budget"}}}"#),
    of("openrouter", "no credits inside a success", 200, Kind::OutOfCredit, r#"{"error":{"code":402,"message":"Insufficient credits"},"user_id":"u"}"#),
    of("openrouter", "a provider's failure inside a success", 200, Kind::ServerError, r#"{"error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"X","raw":"boom"}}}"#),
    of("openrouter", "a provider's failure in the middle", 200, Kind::ServerError, r#"{"id":"g","choices":[{"index":0,"finish_reason":"error","message":{"role":"assistant","content":"half an ans"}}]}"#),
    of("openrouter", "moderation", 403, Kind::ContentFilter, r#"{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"x","provider_name":"X","model_slug":"y"}}}"#),
    of("openrouter", "no provider", 503, Kind::ServerError, r#"{"error":{"code":503,"message":"No instances available"}}"#),

    wait(5_289, of("groq", "tokens a minute", 429, Kind::RateLimited, r#"{"error":{"message":"Rate limit reached for model `x` in organization `org` service tier `on_demand` on tokens per minute (TPM): Limit 15000, Used 11972, Requested 4351. Please try again in 5.289s.","type":"tokens","code":"rate_limit_exceeded"}}"#)),
    of("groq", "tokens a day", 429, Kind::DayQuota, r#"{"error":{"message":"Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 99999, Requested 500. Please try again in 7m12.1s.","type":"tokens","code":"rate_limit_exceeded"}}"#),
    of("groq", "larger than the limit", 413, Kind::TooLong, r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 8000.","type":"tokens","code":"rate_limit_exceeded"}}"#),
    of("groq", "flex tier full", 498, Kind::Overloaded, r#"{"error":{"message":"Flex tier capacity exceeded","type":"internal_server_error","code":"capacity_exceeded"}}"#),
    of("groq", "an answer that is no JSON", 400, Kind::Malformed, r#"{"error":{"message":"Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.","type":"invalid_request_error","code":"json_validate_failed","failed_generation":""}}"#),

    of("deepseek", "no balance", 402, Kind::OutOfCredit, r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#),
    of("deepseek", "wrong parameter", 422, Kind::BadRequest, r#"{"error":{"message":"Invalid max_tokens value","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#),
    of("deepseek", "no capacity, behind empty lines", 200, Kind::Overloaded, "\n\n\n{\"choices\":[{\"index\":0,\"finish_reason\":\"insufficient_system_resource\",\"message\":{\"role\":\"assistant\",\"content\":\"half\"}}]}"),

    of("mistral", "limit", 429, Kind::RateLimited, r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#),
    of("mistral", "no capacity", 429, Kind::RateLimited, r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#),
    of("mistral", "wrong key", 401, Kind::Auth, r#"{"detail":"Unauthorized"}"#),
    of("mistral", "wrong parameter", 422, Kind::BadRequest, r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error","param":null,"code":null}"#),

    of("together", "no credit", 402, Kind::OutOfCredit, r#"{"id":"x","error":{"message":"Credit limit exceeded","type":"credit_limit","param":null,"code":null}}"#),
    of("together", "short of capacity", 503, Kind::Overloaded, r#"{"error":{"message":"The server is overloaded or not ready yet.","type":"service_unavailable","param":null,"code":null}}"#),

    wait(1_000, of("moonshot", "limit", 429, Kind::RateLimited, r#"{"error":{"message":"Your account org-x request reached max request: 3, please try again after 1 seconds","type":"rate_limit_reached_error"}}"#)),
    of("moonshot", "no balance", 429, Kind::OutOfCredit, r#"{"error":{"message":"Your account is not active, current state: exceeded_current_quota, please check your account balance","type":"exceeded_current_quota_error"}}"#),
    of("moonshot", "overload", 429, Kind::Overloaded, r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"engine_overloaded_error"}}"#),
    of("moonshot", "another temperature", 400, Kind::BadRequest, r#"{"error":{"message":"invalid temperature: only 1 is allowed for this model","type":"invalid_request_error"}}"#),

    of("xai", "wrong key", 400, Kind::Auth, r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: na***ys. You can obtain an API key from https://console.x.ai."}"#),
    of("xai", "no credit", 429, Kind::OutOfCredit, r#"{"code":"Some resource has been exhausted","error":"Your team 16f2 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit."}"#),

    of("vllm", "context too long", 400, Kind::TooLong, r#"{"error":{"message":"You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only 1024 tokens, resulting in a maximum input length of 1014 tokens.","type":"BadRequestError","param":"input_tokens","code":400}}"#),
    of("vllm", "context too long, before 0.16", 400, Kind::TooLong, r#"{"object":"error","message":"This model's maximum context length is 1024 tokens. However, you requested 1025 tokens.","type":"BadRequestError","param":null,"code":400}"#),
    of("vllm", "unknown model", 404, Kind::NotFound, r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}"#),

    of("ollama", "unknown model", 404, Kind::NotFound, r#"{"error":{"message":"model 'x' not found","type":"api_error","param":null,"code":null}}"#),
    of("ollama", "queue full", 503, Kind::Overloaded, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#),
    of("ollama", "crash", 500, Kind::ServerError, r#"{"error":{"message":"llama runner process has terminated: exit status 2","type":"api_error","param":null,"code":null}}"#),

    of("llama.cpp", "context too long", 400, Kind::TooLong, r#"{"error":{"code":400,"message":"request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}"#),
    of("llama.cpp", "context too long inside a success, in old builds", 200, Kind::TooLong, r#"{"error":{"code":500,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"server_error"}}"#),
    of("llama.cpp", "loading", 503, Kind::Overloaded, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#),
    of("llama.cpp", "context full while it wrote", 500, Kind::TooLong, r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#),

    of("lm-studio", "context too long", 400, Kind::TooLong, r#"{"error":"Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input"}"#),
    of("sglang", "context too long", 400, Kind::TooLong, r#"{"object":"error","message":"The input (5000 tokens) is longer than the model's context length (4096 tokens).","type":"BadRequestError","param":null,"code":400}"#),
];
