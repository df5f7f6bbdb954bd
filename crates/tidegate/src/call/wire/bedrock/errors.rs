//! What Bedrock's exceptions mean.
//!
//! One exception has several causes: a throttling may last for a day, a validation error may be a context that is too
//! long, or a model that is served only through an inference profile. The last one is told by whole phrases, because
//! errors that have nothing to do with profiles say `isn't supported` too.

use super::types::ErrorBody;
use crate::failure::Kind;

/// Names the cause; what is not named here is left to status and text.
pub(super) fn kind(error: &ErrorBody) -> Option<Kind> {
    let text = normalised(&error.message);
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    match error.kind.as_str() {
        "throttling" | "toomanyrequests" if says(&["per day", "daily"]) => Some(Kind::DayQuota),
        "throttling" | "toomanyrequests" => Some(Kind::RateLimited),
        "servicequotaexceeded" => Some(Kind::DayQuota),
        "modelnotready" | "serviceunavailable" => Some(Kind::Overloaded),
        "modeltimeout" => Some(Kind::Timeout),
        "modelerror" | "modelstreamerror" => Some(match error.original {
            Some(400 | 413 | 422) if says(TOO_LONG) => Kind::TooLong,
            Some(400 | 413 | 422) => Kind::BadRequest,
            Some(429 | 503 | 529) => Kind::Overloaded,
            Some(408 | 504) => Kind::Timeout,
            _ => Kind::ServerError,
        }),
        "internalserver" | "internalfailure" | "conflict" => Some(Kind::ServerError),
        "accessdenied" if says(&["api key", "bearer token", "security token"]) => Some(Kind::Auth),
        "accessdenied" => Some(Kind::Permission),
        "unrecognizedclient"
        | "invalidsignature"
        | "expiredtoken"
        | "incompletesignature"
        | "missingauthenticationtoken"
        | "invalidclienttokenid"
        | "signaturedoesnotmatch" => Some(Kind::Auth),
        "resourcenotfound" => Some(Kind::NotFound),
        "validation" if needs_profile(&text) || says(NO_SUCH_MODEL) => Some(Kind::NotFound),
        "validation" if says(TOO_LONG) => Some(Kind::TooLong),
        _ => None,
    }
}

const NO_SUCH_MODEL: &[&str] = &["the provided model identifier is invalid", "has reached the end of its life"];

const TOO_LONG: &[&str] = &[
    "input is too long",
    "prompt is too long",
    "too many input tokens",
    "too many tokens",
    "exceeds the maximum tokens",
    "expected maxlength",
];

/// Returns whether a refusal says that the model is there, but only through an inference profile.
pub(super) fn needs_profile(text: &str) -> bool {
    let on_demand = text.contains("on-demand throughput") && text.contains("supported");
    on_demand
        || text.contains("retry your request with the id or arn of an inference profile")
        || text.contains("inference profile that contains this model")
}

/// Writes a text in lower case, with plain apostrophes and single spaces.
fn normalised(text: &str) -> String {
    let plain = text.to_lowercase().replace(['’', '‘', '`'], "'").replace(['‑', '–'], "-");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind_name: &str, message: &str) -> Option<Kind> {
        let kind_name = super::super::types::plain_name(kind_name);
        kind(&ErrorBody { kind: kind_name, message: message.to_owned(), original: None })
    }

    #[test]
    fn exceptions_have_causes() {
        let cases = [
            ("ThrottlingException", "Too many requests, please wait", Some(Kind::RateLimited)),
            ("throttlingException", "Too many tokens per day, please wait", Some(Kind::DayQuota)),
            ("ServiceUnavailableException:http://x", "", Some(Kind::Overloaded)),
            ("com.amazon.coral.service#ExpiredTokenException", "expired", Some(Kind::Auth)),
            ("AccessDeniedException", "You don't have access to the model", Some(Kind::Permission)),
            ("AccessDeniedException", "Please make sure your API Key is valid.", Some(Kind::Auth)),
            ("ValidationException", "Input is too long for requested model.", Some(Kind::TooLong)),
            ("ValidationException", "The provided model identifier is invalid.", Some(Kind::NotFound)),
            ("ValidationException", "messages.0.content is empty", None),
            ("SomethingNewException", "x", None),
        ];
        for (name, message, kind) in cases {
            assert_eq!(of(name, message), kind, "{name}: {message}");
        }
    }

    #[test]
    fn the_status_of_the_model_behind_decides() {
        let read = |original: u64| {
            let body = serde_json::json!({"__type": "ModelErrorException", "message": "The model failed.",
                "originalStatusCode": original, "originalMessage": "busy"});
            let error = ErrorBody::read(&http::HeaderMap::new(), body.to_string().as_bytes()).unwrap();
            assert_eq!(error.message, "The model failed. The model said: busy");
            kind(&error)
        };
        assert_eq!(
            [500, 503, 504, 400].map(read),
            [Kind::ServerError, Kind::Overloaded, Kind::Timeout, Kind::BadRequest].map(Some)
        );
    }

    #[test]
    fn a_profile_is_needed_only_where_the_whole_phrase_says_so() {
        let real = "Invocation of model ID anthropic.claude-sonnet-4 with on\u{2011}demand  throughput isn’t supported. Retry \
                    your request with the ID or ARN of an inference profile that contains this model.";
        assert_eq!(of("ValidationException", real), Some(Kind::NotFound));
        for alike in ["The provided region isn't supported", "This tool isn't supported on-demand", "throughput"] {
            assert_eq!(of("ValidationException", alike), None, "{alike}");
        }
    }
}
