//! From a failed reply to its cause: the status, then the text.
//!
//! A wire looks first, because structured codes tell more than statuses (a 429 may be an empty account, a 400 a bad key).
//! What it leaves open is decided here for all wires alike. Text comes last and is matched by whole phrases only, because
//! providers echo prompts in their messages and a prompt may contain any word.

use std::time::{Duration, SystemTime};

use http::response::Parts;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::call::limits::go_duration;
use crate::failure::{Failure, Kind, Retry};

/// The longest wait that a provider's hint may ask for.
pub const LONGEST_HINT: Duration = Duration::from_secs(600);

/// The headers in which providers name a request.
static REQUEST_IDS: [HeaderName; 5] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("mistral-correlation-id"),
];

/// Makes a failure of that kind with what the reply's head tells: status, hint and request id.
pub(crate) fn failure(head: &Parts, kind: Kind, message: String) -> Failure {
    Failure::new(kind, message)
        .with_status(head.status.as_u16())
        .with_retry_after(retry_after(&head.headers))
        .with_request_id(request_id(head))
}

/// Refuses a compressed reply: none is asked for, and asking again would be paid for again.
///
/// # Errors
///
/// [`Kind::BadRequest`] names the compression.
pub(crate) fn uncompressed(head: &Parts) -> Result<(), Failure> {
    let coding =
        head.headers.get(http::header::CONTENT_ENCODING).map(|coding| String::from_utf8_lossy(coding.as_bytes()));
    match coding.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(coding) => {
            let message = format!(
                "the reply is compressed ({coding}), which was not asked for; turn that off in the server or its proxy"
            );
            Err(failure(head, Kind::BadRequest, message))
        }
    }
}

/// Returns what to say of a failed reply whose body no wire can read: a redirect's target, or the start of its text.
pub(crate) fn plain_message(head: &Parts, body: &[u8]) -> String {
    if let Some(target) = head.headers.get(http::header::LOCATION).filter(|_| head.status.is_redirection()) {
        let target = String::from_utf8_lossy(target.as_bytes());
        return format!(
            "the server redirects to {target}; redirects are not followed, give that address as the base URL"
        );
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(2 * Failure::MESSAGE_LIMIT)]);
    let text = text.trim();
    if text.is_empty() { head.status.to_string() } else { text.to_owned() }
}

/// Returns the provider's id of the request.
pub(crate) fn request_id(head: &Parts) -> Option<String> {
    REQUEST_IDS.iter().find_map(|name| head.headers.get(name)).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Names the cause by status and, where one status has several causes, by phrases of the message.
#[must_use]
pub fn kind(status: StatusCode, message: &str) -> Kind {
    let message = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    match status.as_u16() {
        401 => Kind::Auth,
        402 => Kind::OutOfCredit,
        403 | 429 if says(NO_CREDIT) => Kind::OutOfCredit,
        403 => Kind::Permission,
        404 => Kind::NotFound,
        408 | 504 | 524 => Kind::Timeout,
        413 => Kind::TooLong,
        429 if says(TOO_LARGE_FOR_LIMIT) => Kind::TooLong,
        429 if says(PER_DAY) => Kind::DayQuota,
        429 => Kind::RateLimited,
        400 | 422 | 500 if says(CONTEXT_LENGTH) => Kind::TooLong,
        409 | 424 | 425 | 499 => Kind::ServerError,
        498 | 529 => Kind::Overloaded,
        503 if says(OVERLOADED) => Kind::Overloaded,
        500.. => Kind::ServerError,
        _ => Kind::BadRequest,
    }
}

/// As xAI says it.
const NO_CREDIT: &[&str] =
    &["has either used all available credits or", "doesn't have any credits yet", "run out of credits or need"];
const TOO_LARGE_FOR_LIMIT: &[&str] = &["request too large for"];
const PER_DAY: &[&str] = &["per day", "tokens per month", "daily limit", "daily quota"];
const OVERLOADED: &[&str] =
    &["overloaded", "over capacity", "at capacity", "server busy", "loading model", "high demand"];
const CONTEXT_LENGTH: &[&str] = &[
    "maximum context length is",
    "model's maximum context limit",
    "is longer than the model's context length",
    "model's context length is only",
    "input tokens exceed the configured limit",
    "exceed context limit",
    "prompt is too long",
    "prompt: length",
    "too many tokens",
    "current length is",
    "input is too long",
    "too many input tokens",
    "exceeds the available context size",
    "exceeds the maximum number of tokens allowed",
    "context size has been exceeded",
    "greater than the context length",
    "the model is loaded with context length of only",
    "expected maxlength",
    "maximum input length is",
    "`inputs` tokens + `max_new_tokens` must be",
];

/// Reads how long to wait: `retry-after-ms`, then `retry-after` in seconds or as a date, which is read against the
/// reply's own `Date` so that a wrong clock here does not matter. Nothing for absurd or past hints; at most
/// [`LONGEST_HINT`].
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()).map(|ms| ms / 1e3).or_else(|| {
        let hint = text("retry-after")?;
        hint.parse::<f64>().ok().or_else(|| {
            let now = text("date")
                .and_then(http_date)
                .unwrap_or_else(|| jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default());
            Some(http_date(hint)?.duration_since(now).as_secs_f64())
        })
    });
    // AWS's own, in milliseconds.
    let seconds = seconds.or_else(|| Some(text("x-amz-retry-after")?.parse::<f64>().ok()? / 1e3))?;
    let sane = seconds.is_finite() && seconds > 0.0;
    sane.then(|| Duration::from_secs_f64(seconds.min(LONGEST_HINT.as_secs_f64())))
}

/// Reads how long to wait from a message: `try again in 1m2.5s`, `retry in 8.9s`, `retry after 37 seconds`.
pub(crate) fn retry_after_in(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let said = ["try again in ", "try again after ", "retry in ", "retry after "]
        .iter()
        .find_map(|words| message.split_once(words))?
        .1;
    let mut words = said.split_whitespace();
    let first = words.next()?.trim_end_matches(['.', ',']);
    match first.parse::<f64>() {
        Ok(seconds) if words.next().is_some_and(|unit| unit.starts_with("second")) => {
            capped(Duration::try_from_secs_f64(seconds).ok()?)
        }
        Ok(_) => None,
        Err(_) => capped(go_duration(first)?),
    }
}

/// Returns the kind of a failure when the provider says whether to send again (`x-should-retry`): no is believed of what
/// would be tried again here, yes of what would not be tried at all.
pub(crate) fn overruled(headers: &HeaderMap, kind: Kind) -> Kind {
    let says = headers.get("x-should-retry").map(|value| value.as_bytes());
    match (says, kind.advice()) {
        (Some(b"false"), advice) if advice.slow_down => Kind::DayQuota,
        (Some(b"false"), advice) if advice.retry == Retry::Here => Kind::BadRequest,
        (Some(b"true"), advice) if advice.retry == Retry::Never => Kind::ServerError,
        _ => kind,
    }
}

/// Returns a hint as it is obeyed: none of zero, none longer than [`LONGEST_HINT`].
pub(crate) fn capped(hint: Duration) -> Option<Duration> {
    Some(hint.min(LONGEST_HINT)).filter(|hint| !hint.is_zero())
}

fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let map =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        retry_after(&map)
    }

    #[test]
    fn hints_are_read_in_every_form_and_absurd_ones_ignored() {
        let ms = Duration::from_millis;
        assert_eq!(hint(&[("retry-after", "3"), ("retry-after-ms", "250.5")]), Some(Duration::from_micros(250_500)));
        assert_eq!(hint(&[("retry-after", "1.5")]), Some(ms(1500)));
        let date = [("date", "Mon, 23 Nov 2026 10:00:00 GMT"), ("retry-after", "Mon, 23 Nov 2026 10:00:07 GMT")];
        assert_eq!(hint(&date), Some(ms(7000)));
        assert_eq!(hint(&[("x-amz-retry-after", "1500")]), Some(ms(1500)));
        assert_eq!(hint(&[("retry-after", "86400")]), Some(LONGEST_HINT));
        for absurd in ["-1", "0", "NaN", "inf", "soon", ""] {
            assert_eq!(hint(&[("retry-after", absurd)]), None, "{absurd}");
        }
    }

    #[test]
    fn hints_are_read_from_messages() {
        let hint = |message: &str| retry_after_in(message).map(|hint| hint.as_millis());
        assert_eq!(hint("Limit 3, Used 3. Please try again in 20s. Visit"), Some(20_000));
        assert_eq!(hint("please try again in 1m2.5s."), Some(62_500));
        assert_eq!(hint("Please retry after 37 seconds."), Some(37_000));
        assert_eq!(hint("Please retry in 17ms"), Some(17));
        assert_eq!(hint("request reached max request: 3, please try again after 1 seconds"), Some(1000));
        for none in ["try again later", "try again in a moment", "retry after 3", "retry after 0 seconds", "retry in"] {
            assert_eq!(hint(none), None, "{none}");
        }
    }

    #[test]
    fn a_provider_may_say_whether_to_send_again() {
        let of = |says: &'static str, kind| {
            overruled(
                &[("x-should-retry", says)]
                    .iter()
                    .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                    .collect(),
                kind,
            )
        };
        assert_eq!(of("false", Kind::ServerError), Kind::BadRequest);
        assert_eq!(of("false", Kind::RateLimited), Kind::DayQuota);
        assert_eq!(of("true", Kind::BadRequest), Kind::ServerError);
        for kept in [Kind::OutOfCredit, Kind::Auth, Kind::TooLong] {
            assert_eq!((of("true", kept), of("false", kept), of("maybe", kept)), (kept, kept, kept));
        }
    }

    #[test]
    fn one_status_may_have_several_causes() {
        let of = |status, message| kind(StatusCode::from_u16(status).unwrap(), message);
        assert_eq!(of(429, "Rate limit reached on requests per min"), Kind::RateLimited);
        assert_eq!(of(429, "Rate limit reached on requests per day (RPD)"), Kind::DayQuota);
        assert_eq!(of(429, "Request too large for gpt-x on tokens per min"), Kind::TooLong);
        assert_eq!(of(400, "This model's maximum context length is 8192 tokens"), Kind::TooLong);
        assert_eq!(
            of(422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096."),
            Kind::TooLong
        );
        assert_eq!(of(400, "Prompt too long: current length is 9000 while limit is 8192"), Kind::TooLong);
        assert_eq!(of(429, "too many tokens, please wait"), Kind::RateLimited);
        assert_eq!(of(400, "what is 429? overloaded"), Kind::BadRequest);
        assert_eq!(of(503, "The engine is currently overloaded"), Kind::Overloaded);
        assert_eq!(of(503, "upstream"), Kind::ServerError);
        let spent = "Your team x has either used all available credits or reached its monthly spending limit.";
        assert_eq!((of(429, spent), of(403, spent)), (Kind::OutOfCredit, Kind::OutOfCredit));
        assert_eq!((of(302, ""), of(499, "")), (Kind::BadRequest, Kind::ServerError));
    }
}
