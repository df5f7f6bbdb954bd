//! Moments as people write them: `06:00`, which is the next one on this machine's clock, or a time in RFC 3339.

use std::time::Duration;

use jiff::civil::Time;
use jiff::{Timestamp, Zoned};

const HOW: &str = "write 06:00, 06:00:30, or a time with its offset such as 2026-12-24T18:00:00Z";

/// Checks that a text is a moment, and returns it as it is: what it means depends on when the run begins.
pub(crate) fn check(text: &str) -> Result<String, String> {
    read(text.trim()).map(|_| text.trim().to_owned())
}

/// Returns how long it is from now until that moment.
pub(crate) fn until(text: &str, now: &Zoned) -> Result<Duration, String> {
    let at = match read(text)? {
        Moment::Exact(at) => at,
        Moment::Daily(time) => next(time, now).map_err(|error| error.to_string())?,
    };
    Duration::try_from(at.duration_since(now.timestamp())).map_err(|_| format!("{text} is over already"))
}

enum Moment {
    Exact(Timestamp),
    Daily(Time),
}

fn read(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse() {
        return Ok(Moment::Exact(at));
    }
    // The library's own reading of times is wide: it takes a whole date for one.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && text.contains(':');
    text.parse().ok().filter(|_| plain).map(Moment::Daily).ok_or_else(|| HOW.to_owned())
}

/// Returns the next moment at which a clock here shows that time.
fn next(time: Time, now: &Zoned) -> Result<Timestamp, jiff::Error> {
    let on = |date: jiff::civil::Date| date.to_datetime(time).to_zoned(now.time_zone().clone());
    let today = on(now.date())?;
    let next = if today > *now { today } else { on(now.date().tomorrow()?)? };
    Ok(next.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<u64, String> {
        let now: Zoned = "2026-11-23T22:30:00+01:00[+01:00]".parse().unwrap();
        until(text, &now).map(|left| left.as_secs())
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        assert_eq!(seconds("23:00"), Ok(1800));
        assert_eq!(seconds("06:00"), Ok(7 * 3600 + 1800));
        assert_eq!(seconds("22:30"), Ok(24 * 3600));
        assert_eq!(seconds("22:30:01"), Ok(1));
    }

    #[test]
    fn a_moment_with_its_offset_is_that_moment() {
        assert_eq!(seconds("2026-11-23T22:00:00Z"), Ok(1800));
        assert_eq!(seconds("2026-11-23T22:30:10+01:00"), Ok(10));
        assert_eq!(seconds("2026-11-23T20:00:00Z"), Err("2026-11-23T20:00:00Z is over already".to_owned()));
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "6", "6 am", "25:00", "tomorrow", "2026-11-23", "06:00pm", "600"] {
            assert_eq!(check(text).unwrap_err(), HOW, "{text}");
        }
        assert_eq!(check(" 06:00 "), Ok("06:00".to_owned()));
    }
}
