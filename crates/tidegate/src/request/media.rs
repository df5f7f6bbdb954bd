//! Media of a message: their bytes, or where the provider finds them.

use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::format::{Format, MediaKind};

/// The largest file that is read: no provider takes a larger one inside a request.
pub const MOST_FILE_BYTES: u64 = 100_000_000;

/// An image, a document, a video or a sound.
///
/// ```
/// use tidegate::{Media, Message, Request};
/// let png = b"\x89PNG\r\n\x1a\n...".as_slice();
/// let media = Media::bytes(png, Some("boat.png"), None)?;
/// assert_eq!(media.mime, "image/png");
/// let asked = Message::user().text("What is this?").part(tidegate::Part::Image(media));
/// let request = Request::chat(vec![asked]);
/// # let _ = request;
/// # Ok::<(), tidegate::request::media::MediaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Media {
    /// Where the bytes are.
    pub source: Source,
    /// The MIME type; empty where only the provider will know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mime: String,
    /// The file's name; models are told it for documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is odd about it, such as a name that contradicts the content; told with the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Where the bytes of media are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// Here.
    #[serde(with = "as_base64")]
    Bytes(Bytes),
    /// At an address that the provider fetches.
    Url(String),
    /// In a bucket that the provider can read.
    S3 {
        /// `s3://bucket/key`.
        uri: String,
        /// The account that owns the bucket, where it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
}

impl Source {
    /// Returns how many bytes it holds in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Source::Bytes(bytes) => bytes.len(),
            Source::Url(address) | Source::S3 { uri: address, .. } => address.len(),
        }
    }
}

/// Why media cannot be used. It names the file and never shows its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is too large to be sent.
    #[error("{path}: has {bytes} bytes; at most {MOST_FILE_BYTES} can be sent")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// Neither the name nor the first bytes tell a known format.
    #[error("{name}: neither the name nor the first bytes tell a format that can be sent")]
    Unknown {
        /// The file, or `bytes`.
        name: String,
    },
    /// It is of another kind.
    #[error("{name}: is {found} ({mime}), not {wanted}", found = .found.name(), wanted = .wanted.name())]
    OtherKind {
        /// The file, or `bytes`.
        name: String,
        /// What it is.
        found: MediaKind,
        /// What was asked for.
        wanted: MediaKind,
        /// Its type.
        mime: &'static str,
    },
}

impl Media {
    /// Makes media of bytes. Their beginning tells the format, or the name where the bytes do not; where the two
    /// contradict each other the bytes win, and a warning says so.
    ///
    /// # Errors
    ///
    /// The format is unknown, or not of the kind that is wanted.
    pub fn bytes(bytes: impl Into<Bytes>, name: Option<&str>, wanted: Option<MediaKind>) -> Result<Media, MediaError> {
        let bytes = bytes.into();
        let shown = || name.unwrap_or("bytes").to_owned();
        let named = name.and_then(Format::from_name);
        let found: Vec<_> = Format::from_bytes(&bytes).collect();
        let (format, warning) = match (named, found.first()) {
            (Some(named), _) if found.contains(&named) => (named, None),
            (Some(named), None) if !named.has_magic() => (named, None),
            (Some(named), None) => (named, Some(format!("{}: does not begin like {}", shown(), named.mime))),
            (None, Some(found)) => (*found, None),
            (Some(named), Some(found)) => {
                (*found, Some(format!("{}: is {}, though its name says {}", shown(), found.mime, named.mime)))
            }
            (None, None) => return Err(MediaError::Unknown { name: shown() }),
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != format.kind) {
            return Err(MediaError::OtherKind { name: shown(), found: format.kind, wanted, mime: format.mime });
        }
        let name = name.map(|name| name.rsplit(['/', '\\']).next().unwrap_or(name).to_owned());
        Ok(Media { source: Source::Bytes(bytes), mime: format.mime.to_owned(), name, warning })
    }

    /// Reads media from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is too large, of an unknown format, or not of the kind that is wanted.
    pub fn file(path: impl AsRef<Path>, wanted: Option<MediaKind>) -> Result<Media, MediaError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = read(path, &name)?;
        Media::bytes(bytes, Some(&name), wanted)
    }

    /// Makes media of an address that the provider fetches itself, or of a `data:` URL; an address in S3 is one of
    /// [`Source::S3`].
    #[must_use]
    pub fn url(url: impl Into<String>) -> Media {
        let url = url.into();
        if let Some(media) = Media::data_url(&url) {
            return media;
        }
        let mime = Format::from_name(&url).map(|format| format.mime.to_owned()).unwrap_or_default();
        let source = if url.starts_with("s3://") { Source::S3 { uri: url, owner: None } } else { Source::Url(url) };
        Media { source, mime, name: None, warning: None }
    }

    /// Makes media of an object in S3.
    #[must_use]
    pub fn s3(uri: impl Into<String>) -> Media {
        let uri = uri.into();
        let mime = Format::from_name(&uri).map(|format| format.mime.to_owned()).unwrap_or_default();
        Media { source: Source::S3 { uri, owner: None }, mime, name: None, warning: None }
    }

    /// Makes media of base64 text and a type; nothing if it is not base64 exactly as it would be written again.
    #[must_use]
    pub fn base64(mime: &str, data: &str) -> Option<Media> {
        let bytes = STANDARD.decode(data).ok().filter(|bytes| !bytes.is_empty())?;
        Some(Media { source: Source::Bytes(bytes.into()), mime: mime.to_owned(), name: None, warning: None })
    }

    /// Makes media of `data:image/png;base64,AAAA`; nothing if it is anything else.
    #[must_use]
    pub fn data_url(url: &str) -> Option<Media> {
        let (mime, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
        Media::base64(mime, data)
    }

    /// Gives it a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Media {
        self.name = Some(name.into());
        self
    }

    /// Returns the bytes in base64, where they are here.
    #[must_use]
    pub fn to_base64(&self) -> Option<String> {
        match &self.source {
            Source::Bytes(bytes) => Some(STANDARD.encode(bytes)),
            _ => None,
        }
    }

    /// Returns the address that a provider can fetch: the URL, or the bytes as a `data:` URL; none for S3.
    #[must_use]
    pub fn to_url(&self) -> Option<String> {
        match &self.source {
            Source::Bytes(bytes) => Some(format!("data:{};base64,{}", self.mime, STANDARD.encode(bytes))),
            Source::Url(url) => Some(url.clone()),
            Source::S3 { .. } => None,
        }
    }

    /// Returns its name, or one that its format gives it, where a document must have one.
    pub(crate) fn name_or_made(&self) -> String {
        let ending = || self.format().map_or("bin", Format::name);
        self.name.clone().unwrap_or_else(|| format!("document.{}", ending()))
    }

    /// Returns its format, if it is a known one.
    #[must_use]
    pub fn format(&self) -> Option<&'static Format> {
        Format::from_mime(&self.mime)
    }
}

fn read(path: &Path, name: &str) -> Result<Bytes, MediaError> {
    let unreadable = |source| MediaError::Unreadable { path: name.to_owned(), source };
    let too_large = |bytes| MediaError::TooLarge { path: name.to_owned(), bytes };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let data = file.metadata().map_err(unreadable)?;
    if data.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    if data.len() > MOST_FILE_BYTES {
        return Err(too_large(data.len()));
    }
    // A pipe has no length beforehand.
    let mut bytes = Vec::with_capacity(data.len() as usize + 1);
    file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > MOST_FILE_BYTES {
        true => Err(too_large(bytes.len() as u64)),
        false => Ok(bytes.into()),
    }
}

/// Bytes in JSON.
mod as_base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}
