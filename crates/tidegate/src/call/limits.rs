//! What a reply's headers tell about limits, whoever wrote them.
//!
//! Providers agree on the words (limit, remaining, reset) and on little else, so names are taken apart instead of listed:
//!
//! | style | names | resets |
//! |---|---|---|
//! | OpenAI, Groq | `x-ratelimit-{limit,remaining,reset}-{requests,tokens,…}` | `6m0s`, `12ms`, `2m59.56s` |
//! | Azure | the same | whole seconds; `-1` is unknown |
//! | Mistral | `x-ratelimit-{…}-req-minute`, `-tokens-minute` | – |
//! | Anthropic | `anthropic-ratelimit-{requests,input-tokens,…}-{…}` | RFC 3339 |
//! | OpenRouter, Together | `x-ratelimit-{…}`, `x-tokenlimit-{…}` | milliseconds since 1970, or seconds |
//! | RFC drafts | `ratelimit-{…}`, `ratelimit: limit=9, remaining=1, reset=5`, `ratelimit: "a";r=1;t=5` | seconds |
//!
//! A reply without such headers costs one pass over their names. Absolute times are read against the reply's own `Date`,
//! so that a wrong clock here does not matter.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use jiff::Timestamp;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Calls.
    Requests,
    /// Input and output tokens together.
    Tokens,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
}

impl Counted {
    /// Everything that is counted.
    pub const ALL: [Counted; 4] = [Counted::Requests, Counted::Tokens, Counted::InputTokens, Counted::OutputTokens];

    /// Returns what the rest of a header's name means; nothing for what is not counted here, such as images.
    fn of(words: &str) -> Option<Counted> {
        match (words.contains("token"), words.contains("input"), words.contains("output")) {
            (true, true, _) => Some(Counted::InputTokens),
            (true, _, true) => Some(Counted::OutputTokens),
            (true, ..) => Some(Counted::Tokens),
            _ if words.is_empty() || words.contains("req") || period(words).is_some() => Some(Counted::Requests),
            _ => None,
        }
    }
}

/// The state of one limit, as far as it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// How many a period.
    pub limit: Option<f64>,
    /// How many are left.
    pub remaining: Option<f64>,
    /// The time until all are there again (bucket) or the next window starts.
    pub reset: Option<Duration>,
    /// The period, where a name tells it.
    pub period: Option<Duration>,
}

/// What one reply told about limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hints {
    /// Mostly none: every call under way holds this.
    readings: Vec<(Counted, Reading)>,
}

impl Hints {
    /// Sets what is known of one limit.
    pub fn set(&mut self, of: Counted, reading: Reading) {
        match self.readings.iter_mut().find(|(known, _)| *known == of) {
            Some((_, known)) => *known = reading,
            None => self.readings.push((of, reading)),
        }
    }

    /// Returns what is known of one limit.
    #[must_use]
    pub fn get(&self, of: Counted) -> Option<Reading> {
        self.readings.iter().find(|(known, _)| *known == of).map(|(_, reading)| *reading)
    }

    /// Reads the headers of a reply.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Hints {
        let mut groups: Vec<(&str, Reading)> = Vec::new();
        let mut now = None;
        for (name, value) in headers {
            let name = name.as_str();
            let Some((field, words)) = taken_apart(name) else { continue };
            let Ok(text) = value.to_str() else { continue };
            let now = *now.get_or_insert_with(|| date(headers));
            let place = groups.iter().position(|(known, _)| *known == words).unwrap_or_else(|| {
                groups.push((words, Reading { period: period(words), ..Reading::default() }));
                groups.len() - 1
            });
            groups[place].1.note(field, text, now);
        }
        let mut hints = Hints::default();
        for (words, reading) in groups {
            if let Some(of) = Counted::of(words).filter(|_| reading.limit != Some(0.0)) {
                hints.keep_tighter(of, reading);
            }
        }
        hints
    }

    /// Of several limits that count the same, the one of the shorter period decides the pace, and then the one with less left.
    fn keep_tighter(&mut self, of: Counted, reading: Reading) {
        let long = |reading: &Reading| reading.period.is_some_and(|period| period > Duration::from_secs(60));
        let left = |reading: &Reading| reading.remaining.unwrap_or(f64::INFINITY);
        let tighter = self.get(of).is_none_or(|known| {
            (long(&reading), left(&reading)).partial_cmp(&(long(&known), left(&known))).is_some_and(|o| o.is_lt())
        });
        if tighter {
            self.set(of, reading);
        }
    }
}

/// What a header says of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Limit,
    Remaining,
    Reset,
    /// Several of these, as `key=value`.
    All,
}

impl Field {
    fn of(word: &str) -> Option<Field> {
        match word {
            "limit" => Some(Field::Limit),
            "remaining" => Some(Field::Remaining),
            "reset" => Some(Field::Reset),
            "policy" => Some(Field::All),
            _ => None,
        }
    }
}

/// Takes a header's name apart: what it says, and of which limit.
fn taken_apart(name: &str) -> Option<(Field, &str)> {
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        let (words, field) = rest.rsplit_once('-')?;
        return Some((Field::of(field)?, words));
    }
    if name == "ratelimit" {
        return Some((Field::All, ""));
    }
    if let Some(field) = name.strip_prefix("x-tokenlimit-") {
        return Some((Field::of(field)?, "tokens"));
    }
    let rest = name.strip_prefix("x-ratelimit-").or_else(|| name.strip_prefix("ratelimit-"))?;
    let (field, words) = rest.split_once('-').unwrap_or((rest, ""));
    Some((Field::of(field)?, words))
}

/// Returns the period that words of a name tell.
fn period(words: &str) -> Option<Duration> {
    let of = |word: &str| match word {
        "second" | "1s" => Some(1),
        "minute" | "1m" => Some(60),
        "hour" | "1h" => Some(3600),
        "day" | "1d" => Some(86_400),
        "month" => Some(30 * 86_400),
        _ => None,
    };
    words.split(['-', '_']).find_map(of).map(Duration::from_secs)
}

impl Reading {
    fn note(&mut self, field: Field, text: &str, now: Timestamp) {
        match field {
            Field::Limit => self.limit = number(text),
            Field::Remaining => self.remaining = number(text),
            Field::Reset => self.reset = reset(text, now),
            Field::All => self.note_all(text),
        }
    }

    /// Reads the forms of the RFC drafts that tell everything in one value; of several policies the first.
    fn note_all(&mut self, text: &str) {
        for (key, value) in text.split([',', ';']).filter_map(|pair| pair.trim().split_once('=')) {
            let Some(value) = number(value) else { continue };
            let seconds = Duration::try_from_secs_f64(value).ok();
            match key {
                "limit" | "q" => self.limit = self.limit.or(Some(value)),
                "remaining" | "r" => self.remaining = self.remaining.or(Some(value)),
                "reset" | "t" => self.reset = self.reset.or(seconds),
                "w" => self.period = self.period.or(seconds),
                _ => {}
            }
        }
    }
}

/// Reads a number that may be followed by more: `100, 100;w=60`.
fn number(text: &str) -> Option<f64> {
    let text = text.split([',', ';']).next()?.trim();
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// Reads a reset in any of its forms.
fn reset(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let since_epoch = now.as_millisecond() as f64 / 1e3;
        let seconds = match number {
            number if number >= 1e12 => number / 1e3 - since_epoch,
            number if number >= 1e9 => number - since_epoch,
            number => number,
        };
        // A moment that has just passed is now; a negative number is no time at all.
        return Duration::try_from_secs_f64(if number > 0.0 { seconds.max(0.0) } else { seconds }).ok();
    }
    if text.contains('T') {
        let at: Timestamp = text.parse().ok()?;
        return Some(Duration::try_from_secs_f64(at.duration_since(now).as_secs_f64()).unwrap_or_default());
    }
    go_duration(text)
}

/// Reads `1h2m3.5s`, `12ms` and the like.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        seconds += number
            * match &rest[digits..unit] {
                "d" => 86_400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

/// Returns the time at which the provider wrote the reply.
fn date(headers: &HeaderMap) -> Timestamp {
    let told = headers.get(http::header::DATE).and_then(|value| value.to_str().ok());
    told.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok())
        .unwrap_or_else(|| Timestamp::try_from(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &[(&'static str, &str)]) -> Hints {
        let pair = |(name, value): &(&'static str, &str)| (http::HeaderName::from_static(name), value.parse().unwrap());
        Hints::read(&headers.iter().map(pair).collect())
    }

    fn reading(limit: f64, remaining: f64, reset: f64) -> Reading {
        let reset = Some(Duration::from_secs_f64(reset));
        Reading { limit: Some(limit), remaining: Some(remaining), reset, period: None }
    }

    #[test]
    fn a_reply_without_such_headers_tells_nothing() {
        let other = [("content-type", "application/json"), ("x-request-id", "1"), ("x-ratelimit-foo", "1")];
        assert_eq!(read(&other), Hints::default());
    }

    #[test]
    fn openai_and_azure_differ_in_resets_only() {
        let of = |reset| {
            read(&[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-reset-requests", reset),
                ("x-ratelimit-limit-images", "5"),
            ])
        };
        for (text, seconds) in [("6m0s", 360.0), ("12ms", 0.012), ("8.64s", 8.64), ("1h2m3.5s", 3723.5), ("7", 7.0)] {
            assert_eq!(of(text).get(Counted::Requests), Some(reading(60.0, 59.0, seconds)), "{text}");
        }
        for unknown in ["-1", "", "soon", "5x", "NaN"] {
            assert_eq!(of(unknown).get(Counted::Requests).unwrap().reset, None, "{unknown}");
        }
        assert_eq!(of("1s").get(Counted::Tokens), None);
    }

    #[test]
    fn anthropic_resets_are_read_against_the_replys_own_clock() {
        let hints = read(&[
            ("date", "Mon, 23 Nov 2026 10:00:00 GMT"),
            ("anthropic-ratelimit-input-tokens-limit", "400000"),
            ("anthropic-ratelimit-input-tokens-remaining", "399000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-23T10:00:07Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "80000"),
        ]);
        assert_eq!(hints.get(Counted::InputTokens), Some(reading(400_000.0, 399_000.0, 7.0)));
        assert_eq!(hints.get(Counted::OutputTokens).unwrap().remaining, Some(80_000.0));
    }

    #[test]
    fn periods_are_read_from_names() {
        let hints = read(&[
            ("x-ratelimit-limit-req-minute", "30"),
            ("x-ratelimit-remaining-req-minute", "29"),
            ("x-ratelimit-limit-req-day", "500"),
            ("x-ratelimit-remaining-req-day", "3"),
            ("x-ratelimit-remaining-tokens-minute", "900"),
        ]);
        let minute = Some(Duration::from_secs(60));
        let requests = hints.get(Counted::Requests).unwrap();
        assert_eq!((requests.limit, requests.period), (Some(30.0), minute));
        assert_eq!(hints.get(Counted::Tokens).unwrap().period, minute);
    }

    #[test]
    fn bare_names_and_the_drafts_count_requests() {
        let requests = |headers: &[(&'static str, &str)]| read(headers).get(Counted::Requests).unwrap();
        let date = ("date", "Mon, 23 Nov 2026 10:00:00 GMT");
        let epoch_ms = ("x-ratelimit-reset", "1795428030000");
        let openrouter = [date, ("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "19"), epoch_ms];
        assert_eq!(requests(&openrouter), reading(20.0, 19.0, 30.0));
        let draft = [("ratelimit-limit", "10, 10;w=1"), ("ratelimit-remaining", "9"), ("ratelimit-reset", "1")];
        assert_eq!(requests(&draft), reading(10.0, 9.0, 1.0));
        assert_eq!(requests(&[("ratelimit", "limit=10, remaining=9, reset=1")]), reading(10.0, 9.0, 1.0));
        let structured = [("ratelimit", "\"a\";r=9;t=1"), ("ratelimit-policy", "\"a\";q=10;w=60")];
        let period = Some(Duration::from_secs(60));
        assert_eq!(requests(&structured), Reading { period, ..reading(10.0, 9.0, 1.0) });
        assert_eq!(read(&[("x-tokenlimit-remaining", "5")]).get(Counted::Tokens).unwrap().remaining, Some(5.0));
    }

    #[test]
    fn of_twins_the_tighter_one_counts_and_a_limit_of_nothing_is_none() {
        let hints = read(&[
            ("x-ratelimit-remaining-tokens", "900"),
            ("x-ratelimit-remaining-project-tokens", "40"),
            ("x-ratelimit-limit-requests", "0"),
            ("x-ratelimit-remaining-requests", "0"),
        ]);
        assert_eq!(hints.get(Counted::Tokens).unwrap().remaining, Some(40.0));
        assert_eq!(hints.get(Counted::Requests), None);
    }

    proptest! {
        #[test]
        fn no_value_panics(text in "\\PC{0,24}", now in -1_000_000_000_i64..4_000_000_000) {
            let now = Timestamp::from_second(now).unwrap();
            let mut all = Reading::default();
            for field in [Field::Limit, Field::Remaining, Field::Reset, Field::All] {
                all.note(field, &text, now);
            }
        }
    }
}
