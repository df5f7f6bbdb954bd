//! The seam behind which inputs and outputs lie that are no files: an object store, a web server.
//!
//! It blocks, as files do: it is called where files would be read and written. The program plugs one in; the library itself
//! opens no connection for it and reads no credentials.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// The schemes of addresses that are no paths.
const SCHEMES: [&str; 7] = ["s3", "s3a", "gs", "az", "azure", "https", "http"];

/// What to do where stores are not built in.
pub(crate) const NO_STORE: &str = "this program was built without the feature 'object-store'; install it with \
    cargo install --locked --path crates/tidegate-cli --features full";

/// Reads and writes what has an address in place of a path.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Returns the object at an address, as it is now.
    ///
    /// # Errors
    /// Says what is wrong, without the address.
    fn find(&self, url: &str) -> io::Result<Object>;

    /// Returns all objects whose addresses begin so.
    ///
    /// # Errors
    /// Says what is wrong, without the address.
    fn list(&self, prefix: &str) -> io::Result<Vec<Object>>;

    /// Reads a part of an object; one that has been changed since it was found is an error.
    ///
    /// # Errors
    /// Says what is wrong, after trying again what may pass.
    fn read(&self, object: &Object, range: Range<u64>) -> io::Result<Bytes>;

    /// Puts a file there, whole or not at all.
    ///
    /// # Errors
    /// Says what is wrong, after trying again what may pass.
    fn upload(&self, file: &Path, url: &str) -> io::Result<()>;
}

/// Something to read in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its address.
    pub url: Arc<str>,
    /// Its size.
    pub bytes: u64,
    /// What tells it from what stood there before or stands there later, if the store says.
    pub version: Option<String>,
}

/// Returns whether a name of an input or output is an address.
///
/// ```
/// use tidegate::run::store::is_url;
/// assert!(is_url("s3://bucket/rows.jsonl") && !is_url("rows.jsonl"));
/// ```
#[must_use]
pub fn is_url(name: &str) -> bool {
    name.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}
