//! Files beside a row's prompt: columns that hold paths or addresses of images, documents, sounds and videos.
//!
//! A path is meant from the folder of the input file that names it, so that a table and its pictures can be moved
//! together; from the working directory where the input is no file, or where the input's files are themselves the rows.
//! Files are read here, on the reader's thread. What a row is checked by when a run is resumed contains their digest: a
//! changed file is a changed request.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::request::{Media, MediaKind, Part, Source};
use crate::run::input::Place;
use crate::run::key;

/// A column that holds media: a path, an address, a list of such, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaColumn {
    /// Its name.
    pub column: String,
    /// What it holds; told by each file where absent.
    pub kind: Option<MediaKind>,
}

impl MediaColumn {
    /// Returns the flag that names such a column, for messages.
    pub(super) fn flag(&self) -> String {
        self.kind.map_or("input".to_owned(), |kind| format!("--{}-column", kind.name()))
    }
}

/// What a row's columns hold of media.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attached {
    /// The parts, in the order of the columns.
    pub parts: Vec<Part>,
    /// The digest of all files that were read; 0 if there are none.
    pub digest: u64,
}

/// Reads the media that a row names.
///
/// # Errors
///
/// Names the column and what is wrong with it, or the file.
pub(super) fn attach(columns: &[MediaColumn], json: &str, place: &Place) -> Result<Attached, String> {
    let mut attached = Attached::default();
    let mut cells: Vec<Option<&RawValue>> = vec![None; columns.len()];
    key::pick(json, |name| columns.iter().position(|media| media.column == name), &mut cells)?;
    for (media, cell) in columns.iter().zip(cells) {
        for text in texts(cell).ok_or_else(|| format!("`{}` is neither a path nor a list of paths", media.column))? {
            let part = read(&text, media.kind, place).map_err(|fault| format!("`{}`: {fault}", media.column))?;
            if let Some((_, Media { source: Source::Bytes(bytes), .. })) = part.as_media() {
                attached.digest = xxh3_64_with_seed(bytes, attached.digest);
            }
            attached.parts.push(part);
        }
    }
    Ok(attached)
}

/// Returns the texts of a cell: none, one or several.
fn texts(cell: Option<&RawValue>) -> Option<Vec<String>> {
    let cell = cell.map_or("null", RawValue::get);
    let mut texts: Vec<String> = match cell.as_bytes().first() {
        Some(b'n') => Vec::new(),
        Some(b'[') => serde_json::from_str(cell).ok()?,
        _ => vec![serde_json::from_str(cell).ok()?],
    };
    texts.retain(|text| !text.trim().is_empty());
    Some(texts)
}

fn read(text: &str, kind: Option<MediaKind>, place: &Place) -> Result<Part, String> {
    let media = if text.starts_with("data:") || text.contains("://") {
        Media::url(text)
    } else {
        Media::file(path(text, place), kind).map_err(|error| error.to_string())?
    };
    let told = media.format().map(|format| format.kind);
    let kind = kind.or(told).ok_or("what it holds cannot be told; give --image-column or another such flag")?;
    Ok(Part::media(media, kind))
}

fn path(text: &str, place: &Place) -> PathBuf {
    let folder = Path::new(&*place.file).parent().filter(|_| text != &*place.file);
    folder.map_or_else(|| PathBuf::from(text), |folder| folder.join(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1A\nrest";

    fn attach_one(folder: &Path, json: &str, kind: Option<MediaKind>) -> Result<Attached, String> {
        let place = Place { file: folder.join("rows.csv").display().to_string().into(), line: 1 };
        attach(&[MediaColumn { column: "photo".to_owned(), kind }], json, &place)
    }

    #[test]
    fn paths_are_meant_from_the_folder_of_the_input() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), PNG).unwrap();
        let image = Some(MediaKind::Image);
        let one = attach_one(folder.path(), r#"{"photo":"a.png"}"#, image).unwrap();
        assert!(matches!(&one.parts[..], [Part::Image(_)]) && one.digest != 0);
        let two = attach_one(folder.path(), r#"{"photo":["a.png","https://a/b.jpg"]}"#, image).unwrap();
        assert_eq!((two.parts.len(), two.digest), (2, one.digest));
        assert_eq!(two.parts[1], Part::Image(Media::url("https://a/b.jpg")));
        std::fs::write(folder.path().join("a.png"), [PNG, b"!"].concat()).unwrap();
        assert_ne!(attach_one(folder.path(), r#"{"photo":"a.png"}"#, image).unwrap().digest, one.digest);
        for none in [r#"{"photo":null}"#, r#"{"photo":""}"#, r#"{"photo":[]}"#, "{}"] {
            assert_eq!(attach_one(folder.path(), none, image), Ok(Attached::default()), "{none}");
        }
    }

    #[test]
    fn what_cannot_be_attached_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), PNG).unwrap();
        let fault = |json: &str, kind| attach_one(folder.path(), json, kind).unwrap_err();
        let missing = fault(r#"{"photo":"b.png"}"#, None);
        assert!(missing.starts_with("`photo`: ") && missing.contains("b.png: "), "{missing}");
        assert!(
            fault(r#"{"photo":"a.png"}"#, Some(MediaKind::Document)).contains("is image (image/png), not document")
        );
        assert_eq!(fault(r#"{"photo":3}"#, None), "`photo` is neither a path nor a list of paths");
        assert!(fault(r#"{"photo":"https://a/b"}"#, None).contains("cannot be told"));
    }
}
