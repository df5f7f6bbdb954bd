//! Whether a wire can carry a request, found out before anything is sent.
//!
//! Every fault is told at once: a part that the format has no place for, a file that is too large, one image too many. A
//! request that allows it ([`Request::lossy`]) loses such parts instead, and its response says which.

use std::borrow::Cow;

use super::Wire;
use crate::failure::{Failure, Kind};
use crate::request::{MediaKind, Message, Part, Request, Source, Task, ToolResult};

/// What a provider takes of media in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// Images, documents, videos and sounds, in this order.
    pub each: [MediaLimit; 4],
    /// Bytes of all of them together, before they are written as base64.
    pub total_bytes: usize,
    /// The longest side of an image, in pixels.
    pub image_side: usize,
    /// The longest side of an image where there are more images than this in the request.
    pub many_images: Option<(usize, usize)>,
}

/// What a provider takes of one kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimit {
    /// How many in one request.
    pub count: usize,
    /// The largest, in bytes.
    pub bytes: usize,
}

impl MediaLimit {
    /// No limit is known, or there is no place for such media at all.
    pub const NONE: MediaLimit = MediaLimit { count: usize::MAX, bytes: usize::MAX };
}

impl MediaLimits {
    /// No limit is known.
    pub const NONE: MediaLimits =
        MediaLimits { each: [MediaLimit::NONE; 4], total_bytes: usize::MAX, image_side: usize::MAX, many_images: None };

    /// Returns the longest side that an image may have among so many.
    fn side(&self, images: usize) -> usize {
        let among_many = self.many_images.filter(|(many, _)| images > *many).map(|(_, side)| side);
        among_many.unwrap_or(usize::MAX).min(self.image_side)
    }

    const fn of(&self, kind: MediaKind) -> MediaLimit {
        match kind {
            MediaKind::Image => self.each[0],
            MediaKind::Document => self.each[1],
            MediaKind::Video => self.each[2],
            MediaKind::Audio => self.each[3],
        }
    }
}

/// A request as a wire can carry it.
pub(crate) struct Fitted<'a> {
    pub(crate) request: Cow<'a, Request>,
    /// What was left out, and what is odd.
    pub(crate) warnings: Vec<String>,
}

/// Makes a request fit for a wire.
///
/// # Errors
///
/// [`Kind::Unsupported`] names all parts that have no place, and all limits that are exceeded; another model may take them.
pub(crate) fn fit<'a>(request: Cow<'a, Request>, wire: &dyn Wire) -> Result<Fitted<'a>, Failure> {
    let mut fitted = Fitted { request, warnings: Vec::new() };
    let Task::Chat(messages) = &fitted.request.task else { return Ok(fitted) };
    if messages.iter().flat_map(|message| &message.parts).all(|part| matches!(part, Part::Text(_))) {
        return Ok(fitted);
    }
    let mut faults = refused(messages, wire);
    if fitted.request.lossy && !faults.is_empty() {
        let kept = lose(messages, wire)?;
        fitted.warnings = faults.drain(..).map(|fault| format!("left out: {fault}")).collect();
        fitted.request.to_mut().task = Task::Chat(kept);
    }
    let Task::Chat(messages) = &fitted.request.task else { return Ok(fitted) };
    faults.extend(exceeded(messages, wire.media_limits()));
    fitted.warnings.extend(media(messages).filter_map(|(_, media)| media.warning.clone()));
    match faults.is_empty() {
        true => Ok(fitted),
        false => Err(Failure::new(Kind::Unsupported, faults.join("; "))),
    }
}

/// Names the parts that the wire has no place for.
fn refused(messages: &[Message], wire: &dyn Wire) -> Vec<String> {
    let mut faults = Vec::new();
    for (m, message) in messages.iter().enumerate() {
        for (p, part) in message.parts.iter().enumerate() {
            faults.extend(wire.refuses(part).map(|why| format!("messages[{m}].parts[{p}]: {why}")));
        }
    }
    faults
}

/// Returns the messages without the parts that the wire has no place for.
fn lose(messages: &[Message], wire: &dyn Wire) -> Result<Vec<Message>, Failure> {
    let mut kept = messages.to_vec();
    for message in &mut kept {
        message.parts = std::mem::take(&mut message.parts).into_iter().filter_map(|part| lesser(part, wire)).collect();
    }
    // What has become empty says nothing; a message that was so before is the provider's business.
    let mut before = messages.iter();
    kept.retain(|message| {
        let was_empty = before.next().is_some_and(|message| message.parts.is_empty());
        was_empty || !message.parts.is_empty() || !message.extra.is_empty()
    });
    match kept.is_empty() {
        true => Err(Failure::new(Kind::Unsupported, "nothing would be left of the request")),
        false => Ok(kept),
    }
}

/// Returns what is left of a part: its text, where it has one that must not be lost.
fn lesser(part: Part, wire: &dyn Wire) -> Option<Part> {
    if wire.refuses(&part).is_none() {
        return Some(part);
    }
    let less = match part {
        Part::GuardContent(guarded) => Part::Text(guarded.text),
        Part::ToolResult(ToolResult { id, name, mut content, .. }) => {
            content.retain(|part| matches!(part, Part::Text(_)));
            Part::ToolResult(ToolResult { id, name, content, is_error: false })
        }
        _ => return None,
    };
    wire.refuses(&less).is_none().then_some(less)
}

/// Names the limits that the media exceed.
fn exceeded(messages: &[Message], limits: &MediaLimits) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut total, mut images) = (0, Vec::new());
    let mut counts = [(MediaKind::Image, 0), (MediaKind::Document, 0), (MediaKind::Video, 0), (MediaKind::Audio, 0)];
    for (kind, media) in media(messages) {
        counts.iter_mut().filter(|(counted, _)| *counted == kind).for_each(|(_, count)| *count += 1);
        let Source::Bytes(bytes) = &media.source else { continue };
        total += bytes.len();
        let most = limits.of(kind).bytes;
        let name = || media.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        if bytes.len() > most {
            faults.push(format!("the {}{} has {} bytes; at most {most} are taken", kind.name(), name(), bytes.len()));
        }
        if kind == MediaKind::Image && limits.image_side < usize::MAX {
            images.extend(imagesize::blob_size(bytes).ok().map(|size| (name(), size.width, size.height)));
        }
    }
    let side = limits.side(counts[0].1);
    for (name, width, height) in images.into_iter().filter(|(_, width, height)| *width.max(height) > side) {
        faults.push(format!("the image{name} has {width} x {height} pixels; at most {side} a side are taken"));
    }
    for (kind, count) in counts {
        let most = limits.of(kind).count;
        if count > most {
            faults.push(format!("{count} {}s; at most {most} are taken in a request", kind.name()));
        }
    }
    if total > limits.total_bytes {
        faults.push(format!("{total} bytes of media; at most {} are taken in a request", limits.total_bytes));
    }
    faults
}

/// Yields all media, those in results of tools too.
fn media(messages: &[Message]) -> impl Iterator<Item = (MediaKind, &crate::request::Media)> {
    messages.iter().flat_map(|message| &message.parts).flat_map(|part| {
        let inner = match part {
            Part::ToolResult(result) => &result.content[..],
            _ => &[],
        };
        part.as_media().into_iter().chain(inner.iter().filter_map(Part::as_media))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::wire::WireId;

    const PNG: &[u8] = b"\x89PNG\r\n\x1A\n";

    fn asked() -> Request {
        let video = crate::request::Media::s3("s3://a/b.mp4");
        let message = Message::user().text("what?").image_bytes(PNG).unwrap().media(MediaKind::Video, video);
        Request::chat(vec![message, Message::user().guard_content("g")])
    }

    fn fit_for(request: &Request, wire: WireId) -> Result<Fitted<'_>, Failure> {
        fit(Cow::Borrowed(request), wire.wire())
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let failure = fit_for(&asked(), WireId::Anthropic).err().unwrap();
        assert_eq!(failure.kind, Kind::Unsupported);
        let expected = "messages[0].parts[2]: Anthropic's format has no place for a video; \
                        messages[1].parts[0]: Anthropic's format has no place for guard_content";
        assert_eq!(failure.message, expected);
    }

    #[test]
    fn a_lossy_request_loses_what_has_no_place_and_says_so() {
        let request = asked().lossy();
        let fitted = fit_for(&request, WireId::Anthropic).unwrap();
        assert_eq!(fitted.warnings.len(), 2);
        assert!(fitted.warnings[0].starts_with("left out: messages[0].parts[2]: "), "{:?}", fitted.warnings);
        let Task::Chat(messages) = &fitted.request.task else { unreachable!() };
        assert_eq!((messages[0].parts.len(), &messages[1].parts[..]), (2, &[Part::Text("g".to_owned())][..]));
        let nothing = Request::chat(vec![Message::user().cache_point()]).lossy();
        assert!(fit_for(&nothing, WireId::Openai).is_err());
    }

    #[test]
    fn limits_hold_for_the_whole_request() {
        let limits =
            MediaLimits { each: [MediaLimit { count: 2, bytes: 10 }; 4], total_bytes: 25, ..MediaLimits::NONE };
        let image = |bytes: usize| Message::user().image_bytes([PNG, &vec![0; bytes - 8]].concat()).unwrap();
        assert_eq!(exceeded(&[image(9), image(10)], &limits), Vec::<String>::new());
        let faults = exceeded(&[image(9), image(10), image(11)], &limits);
        assert_eq!(faults.len(), 3);
        assert_eq!(faults[0], "the image has 11 bytes; at most 10 are taken");
        assert_eq!(faults[1], "3 images; at most 2 are taken in a request");
        assert_eq!(faults[2], "30 bytes of media; at most 25 are taken in a request");
    }

    /// The beginnings of images: what tells their size.
    fn images(width: u16, height: u16) -> [Vec<u8>; 4] {
        let big = |n: u16| [[0, 0], n.to_be_bytes()].concat();
        let png = [PNG, b"\0\0\0\x0DIHDR", &big(width), &big(height), &[8, 2, 0, 0, 0]].concat();
        let gif = [&b"GIF89a"[..], &width.to_le_bytes(), &height.to_le_bytes(), &[0; 3]].concat();
        let frame = [&[0xFF, 0xC0, 0, 17, 8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[3; 10]].concat();
        let jpeg = [&b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"[..], &frame].concat();
        let less = |n: u16| u32::from(n - 1).to_le_bytes()[..3].to_vec();
        let webp = [&b"RIFF\x1E\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0"[..], &less(width), &less(height)].concat();
        [png, gif, jpeg, webp]
    }

    #[test]
    fn an_image_of_too_many_pixels_is_refused_in_every_format() {
        let ask = |image: Vec<u8>| Request::chat(vec![Message::user().image_bytes(image).unwrap()]);
        for (width, height, fits) in [(8000, 8000, true), (8001, 10, false), (10, 8001, false)] {
            for image in images(width, height) {
                let request = ask(image);
                for wire in [WireId::Bedrock, WireId::Anthropic] {
                    let fault = fit_for(&request, wire).err().map(|failure| failure.message);
                    assert_eq!(fault.is_none(), fits, "{fault:?}");
                    let told = format!("has {width} x {height} pixels; at most 8000 a side are taken");
                    assert!(fits || fault.unwrap().contains(&told));
                }
                assert!(fit_for(&request, WireId::Openai).is_ok(), "OpenAI makes them smaller itself");
            }
        }
    }

    #[test]
    fn many_images_must_be_smaller_and_all_faults_are_told() {
        let [png, ..] = images(3000, 20);
        let message = |count| (0..count).fold(Message::user(), |message, _| message.image_bytes(png.clone()).unwrap());
        assert!(fit_for(&Request::chat(vec![message(20)]), WireId::Anthropic).is_ok());
        let failure = fit_for(&Request::chat(vec![message(21)]), WireId::Anthropic).err().unwrap();
        assert!(failure.message.matches("at most 2000 a side").count() >= 8, "{failure}");
    }

    #[test]
    fn what_is_odd_about_a_file_is_a_warning() {
        let media = crate::request::Media::bytes(PNG, Some("a.jpg"), None).unwrap();
        let request = Request::chat(vec![Message::user().media(MediaKind::Image, media)]);
        assert_eq!(fit_for(&request, WireId::Openai).unwrap().warnings.len(), 1);
    }
}
