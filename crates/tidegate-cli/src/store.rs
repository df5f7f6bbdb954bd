//! Object stores and web servers, for inputs and outputs whose names are addresses.

use std::sync::Arc;

use tidegate::run::store::{Store, is_url};

/// Returns a store if any of the names is an address, or rows may name some; without the feature there is none, and the
/// library says so.
pub(crate) fn needed<'n>(
    names: impl IntoIterator<Item = &'n str>,
    rows_may: bool,
) -> anyhow::Result<Option<Arc<dyn Store>>> {
    if !rows_may && !names.into_iter().any(is_url) {
        return Ok(None);
    }
    #[cfg(feature = "object-store")]
    return Ok(Some(Arc::new(remote::Stores::start()?)));
    #[cfg(not(feature = "object-store"))]
    Ok(None)
}

#[cfg(feature = "object-store")]
mod http;
#[cfg(feature = "object-store")]
mod remote;
#[cfg(feature = "object-store")]
mod web;
