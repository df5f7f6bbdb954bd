//! JSON in bytes.

use serde::Deserialize;
use serde::de::Error;

/// Reads JSON from bytes, as `serde_json::from_slice` does.
///
/// Whether they are UTF-8 is checked at once: string by string it takes several times as long. And types are compiled for
/// one reader only, that of texts.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> serde_json::Result<T> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| serde_json::Error::custom(format_args!("not UTF-8: {error}")))?;
    serde_json::from_str(text)
}
