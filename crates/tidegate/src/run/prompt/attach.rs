//! Files beside a row's prompt: columns that hold paths or addresses of images, documents, sounds and videos.
//!
//! A path is meant from the folder of the input file that names it, so that a table and its pictures can be moved
//! together; from the working directory where the input is no file, or where the input's files are themselves the rows.
//! What an address in a store names is read from there, unless the providers read it themselves; what lies on the web is
//! theirs to read.
//!
//! Files are read here, on the reader's thread, or ahead of it where they are fetched from a store. What a row is checked by
//! when a run is resumed contains their digest: a changed file is a changed request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::client::Client;
use crate::request::media::{MOST_FILE_BYTES, MediaError};
use crate::request::{Media, MediaKind, Part, Source};
use crate::run::input::Place;
use crate::run::key;
use crate::run::store::{NO_STORE, Store, is_url};

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

/// Who reads what is named by an address in a store, such as `s3://bucket/a.png`.
#[derive(Default)]
pub struct Fetching {
    /// Reads it, so that its bytes are sent.
    pub store: Option<Arc<dyn Store>>,
    /// The client whose providers may all read such an address themselves: then it is sent as it is.
    pub client: Option<Client>,
}

impl Fetching {
    /// Returns whether this is read from a store; what lies on the web is the providers' to read.
    fn fetches(&self, url: &str) -> bool {
        is_url(url) && !url.starts_with("http") && !self.client.as_ref().is_some_and(|client| client.reads(url))
    }

    fn media(&self, url: &str, kind: Option<MediaKind>) -> Result<Media, String> {
        if !self.fetches(url) {
            return Ok(Media::url(url));
        }
        let store = self.store.as_ref().ok_or_else(|| format!("{url}: cannot be read: {NO_STORE}"))?;
        let failed = |error: io::Error| format!("{url}: {error}");
        let object = store.find(url).map_err(failed)?;
        if object.bytes > MOST_FILE_BYTES {
            return Err(MediaError::TooLarge { path: url.to_owned(), bytes: object.bytes }.to_string());
        }
        // A store refuses to read a part of nothing.
        let bytes =
            if object.bytes == 0 { Bytes::new() } else { store.read(&object, 0..object.bytes).map_err(failed)? };
        Media::bytes(bytes, Some(url), kind).map_err(|error| error.to_string())
    }
}

/// Returns whether any of the media that a row names is fetched from a store.
pub(super) fn fetches(columns: &[MediaColumn], json: &str, fetching: &Fetching) -> bool {
    let cells = cells(columns, json).unwrap_or_default();
    cells.into_iter().filter_map(texts).flatten().any(|text| fetching.fetches(&text))
}

/// Reads the media that a row names.
///
/// # Errors
///
/// Names the column and what is wrong with it, or the file.
pub(super) fn attach(
    columns: &[MediaColumn],
    json: &str,
    place: &Place,
    fetching: &Fetching,
) -> Result<Attached, String> {
    let mut attached = Attached::default();
    for (media, cell) in columns.iter().zip(cells(columns, json)?) {
        for text in texts(cell).ok_or_else(|| format!("`{}` is neither a path nor a list of paths", media.column))? {
            let part =
                read(&text, media.kind, place, fetching).map_err(|fault| format!("`{}`: {fault}", media.column))?;
            if let Some((_, Media { source: Source::Bytes(bytes), .. })) = part.as_media() {
                attached.digest = xxh3_64_with_seed(bytes, attached.digest);
            }
            attached.parts.push(part);
        }
    }
    Ok(attached)
}

/// Returns what stands in these columns.
fn cells<'j>(columns: &[MediaColumn], json: &'j str) -> Result<Vec<Option<&'j RawValue>>, String> {
    let mut cells = vec![None; columns.len()];
    key::pick(json, |name| columns.iter().position(|media| media.column == name), &mut cells)?;
    Ok(cells)
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

fn read(text: &str, kind: Option<MediaKind>, place: &Place, fetching: &Fetching) -> Result<Part, String> {
    let media = if text.starts_with("data:") || text.contains("://") {
        fetching.media(text, kind)?
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
    use std::ops::Range;

    use super::*;
    use crate::run::store::Object;
    use crate::{Bedrock, Target};

    const PNG: &[u8] = b"\x89PNG\r\n\x1A\nrest";

    fn attach_one(folder: &Path, json: &str, kind: Option<MediaKind>) -> Result<Attached, String> {
        let place = Place { file: folder.join("rows.csv").display().to_string().into(), line: 1 };
        attach(&[MediaColumn { column: "photo".to_owned(), kind }], json, &place, &Fetching::default())
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

    const NOVA: &str = "bedrock/amazon.nova-lite-v1:0";

    #[derive(Debug)]
    struct Bucket;

    impl Store for Bucket {
        fn find(&self, url: &str) -> io::Result<Object> {
            let bytes = match url {
                "s3://lake/a.png" => PNG.len() as u64,
                "s3://lake/large.png" => MOST_FILE_BYTES + 1,
                _ => return Err(io::Error::other("there is no such object")),
            };
            Ok(Object { url: url.into(), bytes, version: None })
        }

        fn list(&self, _: &str) -> io::Result<Vec<Object>> {
            unreachable!()
        }

        fn read(&self, _: &Object, range: Range<u64>) -> io::Result<Bytes> {
            Ok(Bytes::from_static(&PNG[range.start as usize..range.end as usize]))
        }

        fn upload(&self, _: &Path, _: &str) -> io::Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn what_lies_in_a_store_is_read_from_there_unless_all_providers_read_it_themselves() {
        let attach_all = |url: &str, fetching: &Fetching| {
            let columns = [MediaColumn { column: "photo".to_owned(), kind: Some(MediaKind::Image) }];
            let place = Place { file: "rows.csv".into(), line: 1 };
            attach(&columns, &format!(r#"{{"photo":"{url}"}}"#), &place, fetching)
        };
        let client = |models: &[&str]| {
            let mut builder = Client::builder();
            for model in models {
                let mut target = Target::new(model).unwrap().key("k");
                if *model == NOVA {
                    target = target.bedrock(Bedrock { regions: vec!["us-east-1".to_owned()], ..Bedrock::default() });
                }
                builder = builder.target(target);
            }
            builder.build().unwrap()
        };
        let of = |models: &[&str]| Fetching { store: Some(Arc::new(Bucket)), client: Some(client(models)) };
        let bytes = Media::bytes(PNG, Some("a.png"), None).unwrap();
        for models in [&["sim/echo"][..], &["gemini/gemini-2.5-flash"], &[NOVA, "sim/echo"]] {
            let attached = attach_all("s3://lake/a.png", &of(models)).unwrap();
            assert_eq!(attached.parts, [Part::Image(bytes.clone())], "{models:?}");
            assert_ne!(attached.digest, 0);
        }
        let as_it_is = attach_all("s3://lake/a.png", &of(&[NOVA])).unwrap();
        assert_eq!(as_it_is.parts, [Part::Image(Media::s3("s3://lake/a.png"))]);
        let google = attach_all("gs://lake/a.png", &of(&["gemini/gemini-2.5-flash"])).unwrap();
        assert_eq!(google.parts, [Part::Image(Media::url("gs://lake/a.png"))]);
        let fault = |url: &str, fetching: &Fetching| attach_all(url, fetching).unwrap_err();
        let sim = of(&["sim/echo"]);
        assert_eq!(fault("s3://lake/b.png", &sim), "`photo`: s3://lake/b.png: there is no such object");
        assert!(fault("s3://lake/large.png", &sim).contains("at most 100000000 can be sent"));
        let without = fault("s3://lake/a.png", &Fetching { store: None, ..sim });
        assert!(without.contains("feature 'object-store'; install it with"), "{without}");
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
