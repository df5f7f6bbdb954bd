//! The cache that the settings ask for.

use tidegate::{ClientBuilder, Error, Result};

use crate::settings::Settings;

/// Gives the client its cache, if there is to be one.
///
/// # Errors
///
/// Samples of one row, which a cache would make all alike; a file that cannot be used.
pub(crate) fn add(builder: ClientBuilder, settings: &Settings) -> Result<ClientBuilder> {
    match &settings.cache.path {
        None => Ok(builder),
        Some(_) if settings.repeat > 1 => Err(Error::Usage(
            "--repeat asks for a new answer each time, which --cache would prevent; give one of them".to_owned(),
        )),
        Some(path) => open(builder, settings, path),
    }
}

#[cfg(feature = "cache")]
fn open(builder: ClientBuilder, settings: &Settings, path: &std::path::Path) -> Result<ClientBuilder> {
    let usual = tidegate::CacheOptions::default();
    let max_bytes = settings.cache.size.map_or(usual.max_bytes, |megabytes| u64::from(megabytes) << 20);
    let options = tidegate::CacheOptions { ttl: settings.cache.ttl, max_bytes };
    Ok(builder.cache(tidegate::Cache::open(path, options)?))
}

#[cfg(not(feature = "cache"))]
fn open(_: ClientBuilder, _: &Settings, _: &std::path::Path) -> Result<ClientBuilder> {
    Err(Error::Usage("--cache: this program was built without the feature 'cache'".to_owned()))
}
