//! The formats of media that providers take, told by first bytes and by names.
//!
//! A small table of our own: a general detector knows hundreds of formats that no provider takes, and cannot say which of
//! those that share their first bytes (a DOCX and an XLSX are both ZIP archives) a name may choose between.

/// What kind of media a format is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A PDF, a table, a page.
    Document,
    /// Moving pictures.
    Video,
    /// Sound.
    Audio,
}

impl MediaKind {
    /// Returns the name in messages and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MediaKind::Image => "image",
            MediaKind::Document => "document",
            MediaKind::Video => "video",
            MediaKind::Audio => "audio",
        }
    }
}

/// One format.
#[derive(Debug, PartialEq)]
pub struct Format {
    /// What it is.
    pub kind: MediaKind,
    /// Its MIME type.
    pub mime: &'static str,
    /// The endings of its files' names; the first is its short name.
    pub extensions: &'static [&'static str],
    /// What its files have at which place; several beginnings are possible, none means that the bytes do not tell.
    magic: &'static [&'static [(usize, &'static [u8])]],
}

const fn format(
    kind: MediaKind,
    mime: &'static str,
    extensions: &'static [&'static str],
    magic: &'static [&'static [(usize, &'static [u8])]],
) -> Format {
    Format { kind, mime, extensions, magic }
}

const ZIP: &[&[(usize, &[u8])]] = &[&[(0, b"PK\x03\x04")]];
const OLE: &[&[(usize, &[u8])]] = &[&[(0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")]];
const EBML: &[&[(usize, &[u8])]] = &[&[(0, b"\x1A\x45\xDF\xA3")]];

/// Every format; of those that share their first bytes the commonest stands first.
pub static FORMATS: &[Format] = &{
    use MediaKind::{Audio, Document, Image, Video};
    [
        format(Image, "image/png", &["png"], &[&[(0, b"\x89PNG\r\n\x1A\n")]]),
        format(Image, "image/jpeg", &["jpeg", "jpg"], &[&[(0, b"\xFF\xD8\xFF")]]),
        format(Image, "image/gif", &["gif"], &[&[(0, b"GIF87a")], &[(0, b"GIF89a")]]),
        format(Image, "image/webp", &["webp"], &[&[(0, b"RIFF"), (8, b"WEBP")]]),
        format(Image, "image/heic", &["heic"], &[&[(4, b"ftypheic")], &[(4, b"ftypheix")]]),
        format(Image, "image/heif", &["heif"], &[&[(4, b"ftypmif1")], &[(4, b"ftypmsf1")]]),
        format(Document, "application/pdf", &["pdf"], &[&[(0, b"%PDF-")]]),
        format(Document, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", &["docx"], ZIP),
        format(Document, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", &["xlsx"], ZIP),
        format(Document, "application/msword", &["doc"], OLE),
        format(Document, "application/vnd.ms-excel", &["xls"], OLE),
        format(Document, "text/html", &["html", "htm"], &[&[(0, b"<!DOCTYPE html")], &[(0, b"<html")]]),
        format(Document, "text/csv", &["csv"], &[]),
        format(Document, "text/plain", &["txt"], &[]),
        format(Document, "text/markdown", &["md"], &[]),
        format(
            Video,
            "video/mp4",
            &["mp4"],
            &[
                &[(4, b"ftypisom")],
                &[(4, b"ftypiso2")],
                &[(4, b"ftypmp4")],
                &[(4, b"ftypavc1")],
                &[(4, b"ftypdash")],
                &[(4, b"ftypM4V")],
            ],
        ),
        format(Video, "video/quicktime", &["mov"], &[&[(4, b"ftypqt")], &[(4, b"moov")]]),
        format(Video, "video/webm", &["webm"], EBML),
        format(Video, "video/x-matroska", &["mkv"], EBML),
        format(Video, "video/x-flv", &["flv"], &[&[(0, b"FLV\x01")]]),
        format(Video, "video/mpeg", &["mpeg", "mpg"], &[&[(0, b"\x00\x00\x01\xBA")], &[(0, b"\x00\x00\x01\xB3")]]),
        format(Video, "video/x-ms-wmv", &["wmv"], &[&[(0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11")]]),
        format(Video, "video/3gpp", &["three_gp", "3gp"], &[&[(4, b"ftyp3gp")]]),
        format(Audio, "audio/mp3", &["mp3"], &[&[(0, b"ID3")], &[(0, b"\xFF\xFB")], &[(0, b"\xFF\xF3")]]),
        format(Audio, "audio/wav", &["wav"], &[&[(0, b"RIFF"), (8, b"WAVE")]]),
        format(Audio, "audio/flac", &["flac"], &[&[(0, b"fLaC")]]),
        format(Audio, "audio/ogg", &["ogg", "opus"], &[&[(0, b"OggS")]]),
        format(Audio, "audio/mp4", &["m4a"], &[&[(4, b"ftypM4A")]]),
        format(Audio, "audio/aac", &["aac"], &[&[(0, b"\xFF\xF1")], &[(0, b"\xFF\xF9")]]),
    ]
};

impl Format {
    /// Returns the format's short name: `png`, `pdf`, `three_gp`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.extensions.first().copied().unwrap_or(self.mime)
    }

    /// Returns the format of a MIME type; parameters behind it do not count.
    #[must_use]
    pub fn from_mime(mime: &str) -> Option<&'static Format> {
        let mime = mime.split(';').next().unwrap_or(mime).trim();
        let mime = match mime {
            "image/jpg" => "image/jpeg",
            "audio/mpeg" => "audio/mp3",
            "audio/x-wav" | "audio/wave" => "audio/wav",
            other => other,
        };
        FORMATS.iter().find(|format| format.mime.eq_ignore_ascii_case(mime))
    }

    /// Returns the format that a name's or an address's ending tells.
    ///
    /// ```
    /// use tidegate::request::Format;
    /// assert_eq!(Format::from_name("https://a.org/Tide.JPG?size=2").map(|format| format.mime), Some("image/jpeg"));
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<&'static Format> {
        let path = if name.contains("://") { name.split(['?', '#']).next().unwrap_or(name) } else { name };
        let (_, ending) = path.rsplit(['/', '\\']).next()?.rsplit_once('.')?;
        FORMATS.iter().find(|format| format.extensions.iter().any(|known| known.eq_ignore_ascii_case(ending)))
    }

    /// Returns the formats whose files begin like that; several may.
    pub(crate) fn from_bytes(head: &[u8]) -> impl Iterator<Item = &'static Format> {
        FORMATS.iter().filter(move |format| format.begins(head))
    }

    fn begins(&self, head: &[u8]) -> bool {
        let has = |(at, bytes): &(usize, &[u8])| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
        self.magic.iter().any(|beginning| beginning.iter().all(has))
    }

    /// Returns whether the first bytes of its files tell it.
    pub(crate) fn has_magic(&self) -> bool {
        !self.magic.is_empty()
    }
}
