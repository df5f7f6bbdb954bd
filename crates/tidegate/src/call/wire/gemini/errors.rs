//! From Gemini's errors to their cause and to how long to wait.
//!
//! The HTTP status tells little: a bad key is a 400, and a 429 is a limit per minute (wait), per day (do not wait, although
//! `retryDelay` says a few seconds) or a limit of zero (the account's tier does not have the model). The names in `status`
//! and `details` tell them apart, so they are looked at first.

use std::time::Duration;

use serde_json::Value;

use super::types::ErrorBody;
use crate::failure::Kind;

/// Names the cause by this wire's structured codes; what they leave open is the business of the status and the text.
pub(super) fn kind(error: &ErrorBody) -> Option<Kind> {
    if refuses_key(error) {
        return Some(Kind::Auth);
    }
    match error.status.as_deref()? {
        "RESOURCE_EXHAUSTED" => exhausted(error),
        "UNAUTHENTICATED" => Some(Kind::Auth),
        "PERMISSION_DENIED" | "FAILED_PRECONDITION" => Some(Kind::Permission),
        "NOT_FOUND" => Some(Kind::NotFound),
        "UNAVAILABLE" => Some(Kind::Overloaded),
        "DEADLINE_EXCEEDED" => Some(Kind::Timeout),
        "CANCELLED" | "ABORTED" => Some(Kind::ServerError),
        _ => None,
    }
}

/// A bad key is told by a reason with status 400, or only in words with 400 or 403.
fn refuses_key(error: &ErrorBody) -> bool {
    const REASONS: &[&str] = &["API_KEY_INVALID", "API_KEY_EXPIRED", "CREDENTIALS_MISSING", "ACCESS_TOKEN_EXPIRED"];
    const PHRASES: &[&str] = &["API key not valid", "API key expired", "API key was reported as leaked"];
    let reason = |detail: &Value| detail.get("reason").and_then(Value::as_str).is_some_and(|r| REASONS.contains(&r));
    let message = error.message.strip_prefix("Your ").unwrap_or(&error.message);
    error.details("ErrorInfo").any(reason) || PHRASES.iter().any(|phrase| message.starts_with(phrase))
}

/// Tells the causes of a 429 apart. The strictest violation decides: a minute's wait does not help with a day's quota.
fn exhausted(error: &ErrorBody) -> Option<Kind> {
    let violations: Vec<&Value> =
        error.details("QuotaFailure").filter_map(|detail| detail.get("violations")?.as_array()).flatten().collect();
    let message = error.message.to_ascii_lowercase();
    if violations.iter().any(|violation| is_zero(violation)) || says_limit_zero(&message) {
        return Some(Kind::Permission);
    }
    if ["credits are depleted", "spending cap", "spend limit"].iter().any(|phrase| message.contains(phrase)) {
        return Some(Kind::OutOfCredit);
    }
    let per_day =
        |violation: &&Value| violation.get("quotaId").and_then(Value::as_str).is_some_and(|id| id.contains("PerDay"));
    match violations.iter().any(per_day) {
        true => Some(Kind::DayQuota),
        // Without details the text may still say "per day".
        false if violations.is_empty() => None,
        false => Some(Kind::RateLimited),
    }
}

fn is_zero(violation: &Value) -> bool {
    match violation.get("quotaValue") {
        Some(Value::String(text)) => text == "0",
        Some(Value::Number(number)) => number.as_u64() == Some(0),
        _ => false,
    }
}

fn says_limit_zero(message: &str) -> bool {
    let after = message.split("limit: 0").skip(1);
    after.into_iter().any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.'))
}

/// Returns how long to wait: `RetryInfo.retryDelay`, or else the text ("Please retry in 8.9s."); nothing for causes that
/// no short wait ends.
pub(super) fn retry_after(error: &ErrorBody) -> Option<Duration> {
    if matches!(kind(error), Some(Kind::DayQuota | Kind::Permission | Kind::OutOfCredit | Kind::Auth)) {
        return None;
    }
    let told = error.details("RetryInfo").find_map(|detail| detail.get("retryDelay")?.as_str());
    let told = told.or_else(|| {
        let rest = error.message.split_once("retry in ")?.1;
        rest.split_whitespace().next().map(|word| word.trim_end_matches(['.', ',']))
    });
    told.and_then(duration).filter(|hint| !hint.is_zero())
}

/// Reads `22s`, `8.94s`, `850ms`, `1h2m3.5s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|next: char| !next.is_ascii_digit() && next != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|next: char| next.is_ascii_digit()).unwrap_or(rest.len() - digits);
        seconds += number
            * match &rest[digits..digits + unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                _ => return None,
            };
        rest = &rest[digits + unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(status: &str, message: &str, details: Value) -> ErrorBody {
        ErrorBody::from_value(json!({"code": 429, "status": status, "message": message, "details": details})).unwrap()
    }

    fn quota(id: &str, value: &str, delay: &str) -> ErrorBody {
        let details = json!([
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id, "quotaValue": value}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
        ]);
        error("RESOURCE_EXHAUSTED", "You exceeded your current quota.", details)
    }

    #[test]
    fn the_causes_of_a_429_are_told_apart() {
        let minute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "10", "22s");
        assert_eq!((kind(&minute), retry_after(&minute)), (Some(Kind::RateLimited), Some(Duration::from_secs(22))));
        let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250", "22s");
        assert_eq!((kind(&day), retry_after(&day)), (Some(Kind::DayQuota), None));
        let zero = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "0", "22s");
        assert_eq!((kind(&zero), retry_after(&zero)), (Some(Kind::Permission), None));
        let says = |message: &str| kind(&error("RESOURCE_EXHAUSTED", message, json!([])));
        assert_eq!(
            says("Quota exceeded for metric: x, limit: 0, model: gemini-pro\nPlease retry in 5s."),
            Some(Kind::Permission)
        );
        assert_eq!(says("Quota exceeded for metric: x, limit: 0.5"), None);
        assert_eq!(says("Your project has exceeded its spending cap."), Some(Kind::OutOfCredit));
        assert_eq!(says("Resource has been exhausted (e.g. check quota)."), None);
    }

    #[test]
    fn a_bad_key_is_told_by_reason_or_in_words() {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
        assert_eq!(kind(&error("INVALID_ARGUMENT", "x", details)), Some(Kind::Auth));
        let says = |status, message| kind(&error(status, message, json!([])));
        assert_eq!(says("INVALID_ARGUMENT", "API key expired. Please renew the API key."), Some(Kind::Auth));
        assert_eq!(says("PERMISSION_DENIED", "Your API key was reported as leaked."), Some(Kind::Auth));
        assert_eq!(says("INVALID_ARGUMENT", "the prompt says: API key not valid"), None);
        assert_eq!(says("PERMISSION_DENIED", "no access"), Some(Kind::Permission));
        assert_eq!(
            says("FAILED_PRECONDITION", "User location is not supported for the API use."),
            Some(Kind::Permission)
        );
    }

    #[test]
    fn other_names_have_their_kinds() {
        let of = |status| kind(&error(status, "x", Value::Null));
        assert_eq!(of("UNAUTHENTICATED"), Some(Kind::Auth));
        assert_eq!(of("NOT_FOUND"), Some(Kind::NotFound));
        assert_eq!(of("UNAVAILABLE"), Some(Kind::Overloaded));
        assert_eq!(of("DEADLINE_EXCEEDED"), Some(Kind::Timeout));
        assert_eq!(of("CANCELLED"), Some(Kind::ServerError));
        assert_eq!((of("INTERNAL"), of("INVALID_ARGUMENT"), of("NEW_NAME")), (None, None, None));
    }

    #[test]
    fn waits_are_read_from_details_or_text() {
        let delay = |text: &str| retry_after(&quota("PerMinute", "5", text));
        assert_eq!(delay("8.94s"), Some(Duration::from_millis(8940)));
        for absurd in ["", "0s", "-3s", "s", "5", "soon", "1.2.3s", "9e9s", "é"] {
            assert_eq!(delay(absurd), None, "{absurd}");
        }
        let says = |message: &str| retry_after(&error("UNAVAILABLE", message, json!([])));
        assert_eq!(says("Please retry in 850ms."), Some(Duration::from_millis(850)));
        assert_eq!(says("Please retry in 1h2m3.5s. More"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(says("Please retry in a while."), None);
    }
}
