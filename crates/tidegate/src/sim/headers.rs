//! The headers by which a provider tells its limits, in the styles met in the wild.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limit::Standing;
use super::scenario::{HeaderStyle, Resource, RetryAfter};

/// Adds the state of the limits. Where two limits count the same, the one that is listed first is told.
pub(super) fn tell(headers: &mut HeaderMap, style: HeaderStyle, standings: &[Standing], wall: SystemTime) {
    for standing in standings {
        let reset = match style {
            HeaderStyle::None => return,
            HeaderStyle::Openai => Some(go_duration(standing.reset)),
            HeaderStyle::Azure => Some(format!("{:.0}", standing.reset.ceil())),
            HeaderStyle::Anthropic => Some(rfc3339(wall, standing.reset)),
            HeaderStyle::Mistral => None,
        };
        let values = [
            ("limit", Some(format!("{:.0}", standing.limit))),
            ("remaining", Some(format!("{:.0}", standing.remaining))),
            ("reset", reset),
        ];
        for (what, value) in values.into_iter().filter_map(|(what, value)| Some((what, value?))) {
            let name = match style {
                HeaderStyle::Anthropic => format!("anthropic-ratelimit-{}-{what}", resource(standing.of)),
                HeaderStyle::Mistral => format!("x-ratelimit-{what}-{}", with_period(standing)),
                _ => format!("x-ratelimit-{what}-{}", resource(standing.of)),
            };
            put(headers, &name, &value);
        }
    }
    if style == HeaderStyle::Anthropic {
        put(headers, "date", &http_date(wall));
    }
}

/// Adds how long to wait.
pub(super) fn retry_after(headers: &mut HeaderMap, style: RetryAfter, seconds: f64) {
    match style {
        RetryAfter::None => {}
        RetryAfter::Seconds => put(headers, "retry-after", &format!("{:.0}", seconds.ceil().max(1.0))),
        RetryAfter::Ms => put(headers, "retry-after-ms", &format!("{:.0}", (seconds * 1e3).ceil().max(1.0))),
    }
}

fn resource(of: Resource) -> &'static str {
    match of {
        Resource::Requests => "requests",
        Resource::InputTokens => "input-tokens",
        Resource::OutputTokens => "output-tokens",
        Resource::Tokens => "tokens",
        Resource::Concurrency => "concurrency",
    }
}

/// Names what is counted, and the period, as Mistral does: `req-minute`.
fn with_period(standing: &Standing) -> String {
    let what = match standing.of {
        Resource::Requests => "req",
        of => resource(of),
    };
    let period = match standing.per_s {
        per_s if per_s < 60.0 => "second",
        per_s if per_s < 3600.0 => "minute",
        per_s if per_s < 86_400.0 => "hour",
        per_s if per_s < 28.0 * 86_400.0 => "day",
        _ => "month",
    };
    format!("{what}-{period}")
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    // Names and values are made of the letters, digits and signs above, so neither conversion fails.
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.entry(name).or_insert(value);
    }
}

/// Writes seconds as OpenAI does: `12ms`, `8.64s`, `6m0s`, `1h2m3s`.
pub(super) fn go_duration(seconds: f64) -> String {
    let ms = (seconds * 1e3).ceil().clamp(0.0, 1e15) as u64;
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let rest = match (rest / 1000, rest % 1000) {
        (0, ms) if ms > 0 && hours + minutes == 0 => return format!("{ms}ms"),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}s", rest as f64 / 1e3),
    };
    match (hours, minutes) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

fn rfc3339(wall: SystemTime, after: f64) -> String {
    let after = Duration::try_from_secs_f64(after).unwrap_or_default();
    let at = wall.checked_add(after).unwrap_or(wall);
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    let whole = if at.subsec_nanosecond() > 0 { at.as_second() + 1 } else { at.as_second() };
    jiff::Timestamp::from_second(whole).unwrap_or_default().to_string()
}

fn http_date(wall: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(wall).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(style: HeaderStyle) -> Vec<(String, String)> {
        let standing = Standing { of: Resource::Requests, limit: 60.0, remaining: 59.0, reset: 360.2, per_s: 60.0 };
        let mut headers = HeaderMap::new();
        tell(&mut headers, style, &[standing], SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn every_style_writes_its_own_names_and_times() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(told(HeaderStyle::None), []);
        assert_eq!(told(HeaderStyle::Openai)[2], pair("x-ratelimit-reset-requests", "6m0.2s"));
        assert_eq!(told(HeaderStyle::Azure)[2], pair("x-ratelimit-reset-requests", "361"));
        assert_eq!(told(HeaderStyle::Azure)[1], pair("x-ratelimit-remaining-requests", "59"));
        let mistral = [pair("x-ratelimit-limit-req-minute", "60"), pair("x-ratelimit-remaining-req-minute", "59")];
        assert_eq!(told(HeaderStyle::Mistral), mistral);
        let anthropic = told(HeaderStyle::Anthropic);
        assert_eq!(anthropic[2], pair("anthropic-ratelimit-requests-reset", "2023-11-14T22:19:21Z"));
        assert_eq!(anthropic[3], pair("date", "Tue, 14 Nov 2023 22:13:20 GMT"));
    }

    #[test]
    fn durations_are_written_as_openai_does() {
        let written = [0.0, 0.012, 1.0, 8.64, 360.0, 3723.5].map(go_duration);
        assert_eq!(written, ["0s", "12ms", "1s", "8.64s", "6m0s", "1h2m3.5s"]);
    }
}
