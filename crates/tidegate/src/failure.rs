//! What can go wrong with one request, and the one table that says what to do about it.
//!
//! Every layer reads the same [`Kind`]: the wire names it, the limiter learns from it, the retry loop obeys its
//! [`Advice`], the journal keeps it. There is no second classification anywhere, and the table has no catch-all arm,
//! so a new kind does not compile until somebody has decided what it means.
//!
//! | kind | retry | set aside | slow down |
//! |---|---|---|---|
//! | rate limited, overloaded | here, after the pause | – | yes |
//! | server error, timeout, connect, cut, malformed | here, after a backoff | – | no |
//! | stale key | at once | – | no |
//! | day quota, permission, not found | elsewhere | this key's model | no |
//! | auth, out of credit | elsewhere | the key | no |
//! | too long, content filter, unsupported | elsewhere (another model) | – | no |
//! | everything else | never | – | no |
//!
//! A random 5xx is deliberately *not* back-pressure: slowing down for one would idle quota.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::request::Feature;
use crate::response::Usage;

/// The cause of a failed attempt or row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A limit per second or minute was hit (429).
    RateLimited,
    /// A limit per day or month was hit: a short pause will not help.
    DayQuota,
    /// The provider has no capacity just now (529, 503 with a hint, "overloaded").
    Overloaded,
    /// The provider failed (500, 502, a plain 503, 409).
    ServerError,
    /// No whole reply within the attempt's time, or the provider said so (408, 504).
    Timeout,
    /// The connection could not be made (name, refused, TLS), or broke before anything was sent.
    Connect,
    /// The connection broke after the request was sent: it may have been served and billed.
    Cut,
    /// The account is out of money or over a hard spending limit.
    OutOfCredit,
    /// The key was refused (401).
    Auth,
    /// The key was refused, and another one is in its place by now.
    StaleKey,
    /// The key may not use this model or region (403).
    Permission,
    /// The model or path does not exist (404).
    NotFound,
    /// The request is wrong and will stay wrong (400, 422, a redirect).
    BadRequest,
    /// The request is larger than the model's context or the provider's size limit.
    TooLong,
    /// A content filter or the model's own refusal.
    ContentFilter,
    /// A reply without any content.
    Empty,
    /// A reply cut off by the output limit where a whole one was needed.
    Truncated,
    /// A reply that cannot be understood.
    Malformed,
    /// A reply that a check of the user's own refused.
    Rejected,
    /// The request holds something that this provider's format cannot carry.
    Unsupported,
    /// The input row could not be turned into a request.
    BadRow,
    /// The time allowed for the row or the run was over.
    Deadline,
    /// The money or tokens allowed for the run were spent.
    Budget,
    /// The run was stopped before this row was answered.
    Cancelled,
}

/// Whether, and where, a failed request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Again without waiting.
    AtOnce,
    /// Again after a backoff, at any endpoint, one not tried yet first.
    Here,
    /// Again, but not here: with [`Advice::aside`] not at this endpoint, without it not with this model.
    Elsewhere,
    /// No: the answer would be the same, or nobody wants it any more.
    Never,
}

/// What is taken out of service because of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// Every endpoint that uses the key.
    Key,
    /// The one endpoint: this key with this model.
    Model,
}

/// What to do about a [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// Whether and where to send again.
    pub retry: Retry,
    /// What to take out of service, if anything.
    pub aside: Option<Aside>,
    /// Whether the endpoint is asking for less load.
    pub slow_down: bool,
}

impl Kind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Kind; 24] = [
        Kind::RateLimited,
        Kind::DayQuota,
        Kind::Overloaded,
        Kind::ServerError,
        Kind::Timeout,
        Kind::Connect,
        Kind::Cut,
        Kind::OutOfCredit,
        Kind::Auth,
        Kind::StaleKey,
        Kind::Permission,
        Kind::NotFound,
        Kind::BadRequest,
        Kind::TooLong,
        Kind::ContentFilter,
        Kind::Empty,
        Kind::Truncated,
        Kind::Malformed,
        Kind::Rejected,
        Kind::Unsupported,
        Kind::BadRow,
        Kind::Deadline,
        Kind::Budget,
        Kind::Cancelled,
    ];

    /// Returns what to do about this kind of failure: the one table.
    #[must_use]
    pub const fn advice(self) -> Advice {
        const fn advice(retry: Retry, aside: Option<Aside>, slow_down: bool) -> Advice {
            Advice { retry, aside, slow_down }
        }
        match self {
            Kind::RateLimited | Kind::Overloaded => advice(Retry::Here, None, true),
            Kind::ServerError | Kind::Timeout | Kind::Connect | Kind::Cut | Kind::Malformed => {
                advice(Retry::Here, None, false)
            }
            Kind::StaleKey => advice(Retry::AtOnce, None, false),
            Kind::DayQuota | Kind::Permission | Kind::NotFound => advice(Retry::Elsewhere, Some(Aside::Model), false),
            Kind::Auth | Kind::OutOfCredit => advice(Retry::Elsewhere, Some(Aside::Key), false),
            Kind::TooLong | Kind::ContentFilter | Kind::Unsupported => advice(Retry::Elsewhere, None, false),
            Kind::BadRequest
            | Kind::Empty
            | Kind::Truncated
            | Kind::Rejected
            | Kind::BadRow
            | Kind::Deadline
            | Kind::Budget
            | Kind::Cancelled => advice(Retry::Never, None, false),
        }
    }

    /// Returns whether the same request may well succeed later without any change: what `--retry-failed` retries.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self.advice().retry, Retry::Here | Retry::AtOnce)
    }

    /// Returns whether a row that ends this way was never answered, so that it stays unsent instead of failed.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        matches!(self, Kind::Deadline | Kind::Budget | Kind::Cancelled)
    }

    /// Returns the name used in records, in configuration and on the command line, such as `rate_limited`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::RateLimited => "rate_limited",
            Kind::DayQuota => "day_quota",
            Kind::Overloaded => "overloaded",
            Kind::ServerError => "server_error",
            Kind::Timeout => "timeout",
            Kind::Connect => "connect",
            Kind::Cut => "cut",
            Kind::OutOfCredit => "out_of_credit",
            Kind::Auth => "auth",
            Kind::StaleKey => "stale_key",
            Kind::Permission => "permission",
            Kind::NotFound => "not_found",
            Kind::BadRequest => "bad_request",
            Kind::TooLong => "too_long",
            Kind::ContentFilter => "content_filter",
            Kind::Empty => "empty",
            Kind::Truncated => "truncated",
            Kind::Malformed => "malformed",
            Kind::Rejected => "rejected",
            Kind::Unsupported => "unsupported",
            Kind::BadRow => "bad_row",
            Kind::Deadline => "deadline",
            Kind::Budget => "budget",
            Kind::Cancelled => "cancelled",
        }
    }

    /// Returns the kind of that [`name`](Kind::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a user's own classification makes of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause.
    pub kind: Kind,
    /// How long to wait because of it, in place of what the provider said: the endpoint, if the kind slows down, else the
    /// request before its next attempt.
    pub wait: Option<Duration>,
}

impl From<Kind> for Diagnosis {
    fn from(kind: Kind) -> Diagnosis {
        Diagnosis { kind, wait: None }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One failure, as data: it is journaled, counted and shown, and holds no key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The cause.
    pub kind: Kind,
    /// What the provider or the operating system said, at most [`Failure::MESSAGE_LIMIT`] bytes of it.
    pub message: String,
    /// The HTTP status, if a reply came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the provider asked to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// The provider's id of the request, to quote in a support case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was used all the same: a refused or empty reply is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<Usage>>,
    /// What of the request was refused as unsupported, where the request may do without.
    #[serde(skip)]
    pub(crate) refused: Option<Feature>,
}

impl Failure {
    /// The longest message that is kept, in bytes.
    pub const MESSAGE_LIMIT: usize = 600;

    /// Makes a failure of that kind; a long message is cut.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        let mut message: String = message.into();
        if message.len() > Failure::MESSAGE_LIMIT {
            let end = message.floor_char_boundary(Failure::MESSAGE_LIMIT);
            message.truncate(end);
            message.push('…');
        }
        Failure { kind, message, status: None, retry_after: None, request_id: None, usage: None, refused: None }
    }

    /// Makes the failure that a user's own [`Caller`](crate::Caller) returns for "429, wait this long".
    ///
    /// ```
    /// use std::time::Duration;
    /// let failure = tidegate::Failure::rate_limited(Duration::from_secs(3));
    /// assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    /// ```
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Failure {
        Failure::new(Kind::RateLimited, "rate limited").with_retry_after(Some(retry_after))
    }

    /// Sets the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Failure {
        self.status = Some(status);
        self
    }

    /// Sets how long the provider asked to wait.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Failure {
        self.retry_after = retry_after;
        self
    }

    /// Sets what was used all the same.
    #[must_use]
    pub fn with_usage(mut self, usage: Option<Usage>) -> Failure {
        self.usage = usage.map(Box::new);
        self
    }

    /// Sets the provider's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, request_id: Option<String>) -> Failure {
        self.request_id = request_id;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        match self.status {
            Some(status) => write!(f, " (HTTP {status})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_kind_and_names_are_unique() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }

    #[test]
    fn only_back_pressure_slows_down() {
        let slow: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.advice().slow_down).collect();
        assert_eq!(slow, [Kind::RateLimited, Kind::Overloaded]);
    }

    #[test]
    fn a_refused_key_is_never_retried_with_the_same_key() {
        for kind in [Kind::Auth, Kind::OutOfCredit] {
            let advice = kind.advice();
            assert_eq!((advice.retry, advice.aside), (Retry::Elsewhere, Some(Aside::Key)));
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let failure = Failure::new(Kind::BadRequest, "é".repeat(1000));
        assert!(failure.message.len() <= Failure::MESSAGE_LIMIT + "…".len());
        assert!(failure.message.ends_with("é…"));
    }
}
