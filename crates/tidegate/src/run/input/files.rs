//! Files that are rows themselves: an image or a PDF each.

use std::path::Path;

use serde_json::json;

use super::Found;

/// The columns of such a row: where the file is, and what it is called.
pub(super) const COLUMNS: [&str; 2] = ["path", "name"];

/// A file whose row has not been taken yet.
pub(super) struct Files(Option<String>);

impl Files {
    pub(super) fn new(path: &str) -> Files {
        Files(Some(path.to_owned()))
    }

    pub(super) fn next_row(&mut self) -> Option<Found> {
        let path = self.0.take()?;
        let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
        Some(Found::good(1, json!({"path": path, "name": name}).to_string().into()))
    }
}
