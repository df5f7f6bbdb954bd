//! What is known of a call while it is under way.

use std::time::Duration;

use tokio::time::Instant;

use super::admission::Lease;
use super::payer::Paid;

/// A call under way: its lease, and how long it had waited for that.
pub(super) struct Sent<'a> {
    pub(super) lease: Lease,
    pub(super) waited: Duration,
    pub(super) cooled: Duration,
    /// How long it had waited before it queued.
    pub(super) backoff: Duration,
    /// What is reserved for it: charged in full if the call is given up.
    pub(super) paid: Paid<'a>,
}

impl<'a> Sent<'a> {
    pub(super) fn new(lease: Lease, since: Instant, backoff: Duration, paid: Paid<'a>) -> Sent<'a> {
        Sent { waited: lease.sent.duration_since(since), cooled: lease.cooled(since), backoff, lease, paid }
    }
}
