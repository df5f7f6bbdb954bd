//! What a simulated provider is like: one struct of plain data, read from YAML.
//!
//! Unknown fields and impossible values are refused with their line, so that a typing error never becomes a provider
//! without limits. Everything has a default: an empty file is a provider that answers everything after 30 ms.

use serde::{Deserialize, Deserializer, Serialize};

use super::fault::{Fault, Faults};
use crate::error::{Error, Result};
use crate::suggest::closest;

/// How a simulated provider behaves.
///
/// ```
/// use tidegate::sim::{Faults, Limit, Resource, Scenario};
/// let scenario = Scenario {
///     limits: vec![Limit::per_minute(Resource::Requests, 600.0)],
///     faults: Faults { status_500: 0.05, ..Faults::default() },
///     ..Scenario::fixed(200.0)
/// };
/// let same = "latency: {fixed: {ms: 200}}\nlimits: [{of: requests, limit: 600}]\nfaults: {status_500: 0.05}";
/// assert_eq!(Scenario::from_yaml(same)?, scenario);
/// # Ok::<(), tidegate::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Makes everything random repeatable. Default 0. The same seed and the same request give the same fate.
    pub seed: u64,
    /// The time until the first byte of a reply. Default 30 ms, fixed.
    pub latency: Latency,
    /// Milliseconds for each output token, on top of the latency. Default 0; a fast hosted model takes 10, a slow one 50.
    #[serde(deserialize_with = "not_negative")]
    pub ms_per_output_token: f64,
    /// Milliseconds until a refusal (401, 404, 429) is sent. Default 5.
    #[serde(deserialize_with = "not_negative")]
    pub reject_ms: f64,
    /// The limits, all of which a call must pass. Default none.
    pub limits: Vec<Limit>,
    /// Whether every API key has limits of its own. Default false: all callers share them.
    pub per_key: bool,
    /// Whether a refused call uses up quota too. Default false. With it, hammering a closed gate keeps it closed.
    pub rejected_calls_count: bool,
    /// How the state of the limits is told in reply headers. Default `openai`.
    pub headers: HeaderStyle,
    /// How a 429 says how long to wait. Default `seconds`.
    pub retry_after: RetryAfter,
    /// What goes wrong by chance. Default nothing.
    pub faults: Faults,
    /// How long the body of a `slow_body` fault takes, in milliseconds. Default 5000.
    #[serde(deserialize_with = "not_negative")]
    pub slow_body_ms: f64,
    /// Answers for prompts that contain a text; the first that fits is used. Default none.
    pub script: Vec<Script>,
    /// The models that exist; any other is a 404. Default empty: every model exists.
    pub models: Vec<String>,
    /// The API keys that are accepted; any other is a 401. Default empty: every key is, and none too.
    pub keys: Vec<String>,
    /// What a reply says. Default `echo`.
    pub reply: ReplyText,
    /// The least number of output tokens of a reply: a shorter one is filled up. Default 0. A token is four bytes.
    pub output_tokens: u32,
    /// The length of an embedding whose request does not say one. Default 8, at least 1.
    #[serde(deserialize_with = "at_least_one")]
    pub dimensions: u32,
    /// How many distinct request ids are counted one by one, at 16 to 32 bytes each. Default 1,000,000.
    pub remember_ids: usize,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            seed: 0,
            latency: Latency::default(),
            ms_per_output_token: 0.0,
            reject_ms: 5.0,
            limits: Vec::new(),
            per_key: false,
            rejected_calls_count: false,
            headers: HeaderStyle::default(),
            retry_after: RetryAfter::default(),
            faults: Faults::default(),
            slow_body_ms: 5000.0,
            script: Vec::new(),
            models: Vec::new(),
            keys: Vec::new(),
            reply: ReplyText::default(),
            output_tokens: 0,
            dimensions: 8,
            remember_ids: 1_000_000,
        }
    }
}

/// The time until the first byte of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    Fixed {
        /// Milliseconds, 0 or more.
        #[serde(deserialize_with = "not_negative")]
        ms: f64,
    },
    /// As hosted models are met: most replies near the median, a few far above.
    Lognormal {
        /// The median in milliseconds.
        #[serde(deserialize_with = "not_negative")]
        median_ms: f64,
        /// The spread: 0.5 puts one reply in forty above 2.7 times the median, 1 above 7 times.
        #[serde(deserialize_with = "not_negative")]
        sigma: f64,
    },
    /// As a GPU server is met: flat up to a number of calls in flight, then longer with each one more.
    Load {
        /// Milliseconds of a call that is alone.
        #[serde(deserialize_with = "not_negative")]
        base_ms: f64,
        /// Milliseconds for each call in flight above the knee.
        #[serde(deserialize_with = "not_negative")]
        per_in_flight_ms: f64,
        /// Calls in flight that cost nothing.
        #[serde(default)]
        knee: u32,
    },
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::Fixed { ms: 30.0 }
    }
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is counted.
    pub of: Resource,
    /// How many a period, or how many at once for `concurrency`; 0 or more.
    #[serde(deserialize_with = "not_negative")]
    pub limit: f64,
    /// The period in seconds. Default 60; 86400 makes a daily quota.
    #[serde(default = "minute", deserialize_with = "positive")]
    pub per_s: f64,
    /// Whether quota comes back smoothly or all at once. Default `bucket`.
    #[serde(default)]
    pub shape: Shape,
    /// How much a full bucket holds. Default a whole period's worth; smaller is stricter. Windows have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    /// What a call is charged for its output. Default `actual`.
    #[serde(default)]
    pub charge: Charge,
    /// Whether the limit is kept secret: no headers, no hint how long to wait. Default false.
    #[serde(default)]
    pub hidden: bool,
    /// How the limit changes while it is in use, in order of time. Default never.
    #[serde(default)]
    pub changes: Vec<Change>,
}

impl Limit {
    /// Makes a smooth limit per minute that holds a minute's worth.
    #[must_use]
    pub fn per_minute(of: Resource, limit: f64) -> Limit {
        Limit {
            of,
            limit,
            per_s: minute(),
            shape: Shape::Bucket,
            burst: None,
            charge: Charge::Actual,
            hidden: false,
            changes: Vec::new(),
        }
    }
}

fn minute() -> f64 {
    60.0
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Calls.
    Requests,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of replies.
    OutputTokens,
    /// Both.
    Tokens,
    /// Calls at the same time.
    Concurrency,
}

/// How quota comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Smoothly, as a bucket fills.
    #[default]
    Bucket,
    /// All at once at the end of each period, counted from the first call.
    FixedWindow,
}

/// What a call is charged for its output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// The tokens that the reply has.
    #[default]
    Actual,
    /// The tokens that the request allows, where it says so.
    MaxTokens,
}

/// A change of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Seconds after the first call.
    #[serde(deserialize_with = "not_negative")]
    pub after_s: f64,
    /// What the limit and its burst are multiplied with. Default 1.
    #[serde(default = "one", deserialize_with = "not_negative")]
    pub factor: f64,
    /// The new limit, in place of a factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// How the state of the limits is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderStyle {
    /// `x-ratelimit-remaining-requests: 59`, resets as durations such as `6m0s`.
    #[default]
    Openai,
    /// The same names, resets in whole seconds.
    Azure,
    /// `anthropic-ratelimit-requests-remaining: 59`, resets as RFC 3339 times.
    Anthropic,
    /// `x-ratelimit-remaining-req-minute: 59`, with the period in the name and no resets.
    Mistral,
    /// Not at all.
    None,
}

/// How a 429 says how long to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// Not at all.
    None,
    /// `retry-after` in whole seconds, rounded up.
    #[default]
    Seconds,
    /// `retry-after-ms`.
    Ms,
}

/// An answer for prompts that contain a text. One of `reply`, `status` and `fault` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The text; an empty one fits every prompt.
    pub contains: String,
    /// To how many sendings of each request it applies. Default: to all. 2 with a `status` makes a row fail twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The text of a good reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The HTTP status of a bad reply, 200 to 599.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body that goes with the status. Default an error in OpenAI's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A `retry-after` header that goes with the status, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
    /// What goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What a reply says where no schema and no script decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyText {
    /// A hash of the whole prompt and the first 200 bytes of the last user message: `[0c6a1f8e] Summarise: …`.
    #[default]
    Echo,
    /// Always this text.
    Text(String),
}

impl Scenario {
    /// Makes a provider that answers after a fixed time and has no limits and no faults.
    #[must_use]
    pub fn fixed(ms: f64) -> Scenario {
        Scenario { latency: Latency::Fixed { ms }, ..Scenario::default() }
    }

    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] names the line, or the field where two do not go together.
    pub fn from_yaml(text: &str) -> Result<Scenario> {
        // A file of comments only is an empty document, which is no map.
        let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if empty {
            return Ok(Scenario::default());
        }
        let scenario: Scenario = serde_saphyr::from_str(text)
            .map_err(|error| Error::Usage(format!("scenario: {}", explain(&error.without_snippet().to_string()))))?;
        scenario.check().map_err(|message| Error::Usage(format!("scenario: {message}")))?;
        Ok(scenario)
    }

    /// Checks what one field alone cannot know.
    fn check(&self) -> Result<(), String> {
        let together: f64 = self.faults.together();
        if together > 1.0 + 1e-9 {
            return Err(format!("faults: the probabilities add up to {together}; at most 1 is possible"));
        }
        for (i, limit) in self.limits.iter().enumerate() {
            limit.check().map_err(|message| format!("limits[{i}]: {message}"))?;
        }
        for (i, script) in self.script.iter().enumerate() {
            script.check().map_err(|message| format!("script[{i}]: {message}"))?;
        }
        Ok(())
    }
}

impl Limit {
    fn check(&self) -> Result<(), String> {
        let good = |value: f64| value.is_finite() && value >= 0.0;
        if self.burst.is_some_and(|burst| !(good(burst) && burst >= 1.0)) {
            return Err("`burst` must be at least 1".to_owned());
        }
        if self.burst.is_some() && (self.shape == Shape::FixedWindow || self.of == Resource::Concurrency) {
            return Err("`burst` belongs to a bucket; remove it".to_owned());
        }
        if !self.changes.is_sorted_by(|a, b| a.after_s < b.after_s) {
            return Err("`changes` must be in order of `after_s`".to_owned());
        }
        if self.changes.iter().filter_map(|change| change.limit).any(|limit| !good(limit)) {
            return Err("a change's `limit` must be 0 or more".to_owned());
        }
        if self.changes.iter().any(|change| change.limit.is_some() && change.factor != 1.0) {
            return Err("a change has either a `factor` or a `limit`".to_owned());
        }
        Ok(())
    }
}

impl Script {
    fn check(&self) -> Result<(), String> {
        let given = [self.reply.is_some(), self.status.is_some(), self.fault.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err("give exactly one of `reply`, `status` and `fault`".to_owned());
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err("`status` must be from 200 to 599".to_owned());
        }
        if self.status.is_none() && (self.body.is_some() || self.retry_after_s.is_some()) {
            return Err("`body` and `retry_after_s` go with a `status`".to_owned());
        }
        if self.retry_after_s.is_some_and(|seconds| !(seconds.is_finite() && seconds >= 0.0)) {
            return Err("`retry_after_s` must be 0 or more".to_owned());
        }
        Ok(())
    }
}

/// Reads a number and checks it on the spot, so that the reader of YAML adds the line.
pub(super) fn number<'de, D>(deserializer: D, wanted: &str, good: fn(f64) -> bool) -> Result<f64, D::Error>
where
    D: Deserializer<'de>,
{
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() && good(value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("{value} is not possible here: give {wanted}")))
}

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number of 0 or more", |value| value >= 0.0)
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number above 0", |value| value > 0.0)
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if value >= 1 {
        return Ok(value);
    }
    Err(serde::de::Error::custom("0 is not possible here: give at least 1"))
}

/// The parser says: unknown field `latncy`, expected one of seed, latency at line 3, column 1.
fn explain(error: &str) -> String {
    let (message, place) = error.rsplit_once(" at line ").unwrap_or((error, ""));
    let line = place.split(',').next().filter(|line| !line.is_empty()).map(|line| format!("line {line}: "));
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, expected one of "));
    let meant = unknown.and_then(|(name, known)| closest(name, known.split(", ")));
    let meant = meant.map(|name| format!("; did you mean {name}?"));
    format!("{}{message}{}", line.unwrap_or_default(), meant.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(yaml: &str) -> String {
        Scenario::from_yaml(yaml).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Scenario::from_yaml("# nothing\n").unwrap(), Scenario::default());
        assert_eq!(Scenario::from_yaml("").unwrap(), Scenario::default());
    }

    #[test]
    fn every_form_is_read() {
        let scenario = Scenario::from_yaml(
            "seed: 7\n\
             latency: {lognormal: {median_ms: 800, sigma: 0.5}}\n\
             limits:\n\
             - {of: requests, limit: 600, burst: 10}\n\
             - {of: tokens, limit: 1e6, shape: fixed_window, hidden: true, changes: [{after_s: 30, factor: 0.5}]}\n\
             - {of: concurrency, limit: 8}\n\
             retry_after: ms\n\
             headers: anthropic\n\
             faults: {status_500: 0.1, hang: 0.01}\n\
             script: [{contains: broken, status: 500, times: 2}, {contains: bye, fault: reset}]\n\
             reply: {text: ok}\n",
        )
        .unwrap();
        assert_eq!(scenario.latency, Latency::Lognormal { median_ms: 800.0, sigma: 0.5 });
        assert_eq!(scenario.limits[1].shape, Shape::FixedWindow);
        assert_eq!(scenario.script[1].fault, Some(Fault::Reset));
        assert_eq!((scenario.reply, scenario.faults.hang), (ReplyText::Text("ok".to_owned()), 0.01));
    }

    #[test]
    fn wrong_files_name_the_line() {
        for yaml in [
            "seed: 1\nlatancy: 3\n",
            "seed: 1\nlatency: {fixed: {ms: -5}}\n",
            "seed: 1\nfaults: {hang: 1.5}\n",
            "seed: 1\nms_per_output_token: .nan\n",
            "seed: 1\ndimensions: 0\n",
        ] {
            let message = error(yaml);
            assert!(message.contains("line 2"), "{yaml} -> {message}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let said = error("seed: 1\nlatncy: 3\n");
        assert!(said.starts_with("scenario: line 2: unknown field `latncy`, expected one of seed, "), "{said}");
        assert!(said.ends_with("; did you mean latency?"), "{said}");
        assert!(error("faults: {hang: 0.6, reset: 0.6}").contains("faults: the probabilities add up to 1.2"));
        assert!(error("limits: [{of: requests, limit: 5, burst: 0.5}]").contains("limits[0]: `burst`"));
        assert!(error("script: [{contains: a}]").contains("script[0]: give exactly one"));
        assert!(error("script: [{reply: a, body: b}]").contains("go with a `status`"));
    }

    #[test]
    fn draws_fall_on_faults_by_their_share() {
        let faults = Faults { status_500: 0.25, hang: 0.5, ..Faults::default() };
        let picked = [0.0, 0.24, 0.25, 0.74, 0.75, 0.999].map(|draw| faults.pick(draw));
        assert_eq!(
            picked,
            [Some(Fault::Status500), Some(Fault::Status500), Some(Fault::Hang), Some(Fault::Hang), None, None]
        );
    }
}
