//! Snapshots for the tests of the display.

use tidegate::{EndpointSnapshot, Snapshot};

/// Returns a snapshot of these endpoints at which nobody waits.
pub(crate) fn snapshot(endpoints: Vec<EndpointSnapshot>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.endpoints = endpoints;
    snapshot
}

/// Returns an endpoint with so many requests in flight, out of 64.
pub(crate) fn endpoint(name: &str, in_flight: usize) -> EndpointSnapshot {
    let mut endpoint = EndpointSnapshot::default();
    name.clone_into(&mut endpoint.name);
    (endpoint.in_flight, endpoint.concurrency) = (in_flight, 64);
    endpoint
}
