//! Durations as people write them: `600`, `600s`, `2.5s`, `10m`, `1h`, `250ms`.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserializer, Serializer};

/// The longest duration that is believed: what is longer is a slip of the unit.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Reads a duration that may be 0; a number without a unit is in seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const HOW: &str = "not a duration; write 600, 600s, 2.5s, 10m, 1h or 250ms";
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds_each = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(HOW.to_owned()),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| HOW.to_owned())?;
    match Duration::try_from_secs_f64(number * seconds_each) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ if number < 0.0 => Err("must not be negative".to_owned()),
        _ => Err("must be at most 720h (30 days)".to_owned()),
    }
}

/// Reads a duration of at least a millisecond.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    let duration = parse(text).map_err(|reason| reason.replace("must not be negative", "must be more than 0"))?;
    if duration < Duration::from_millis(1) { Err("must be more than 0".to_owned()) } else { Ok(duration) }
}

/// Writes a duration in a form that [`parse`] reads.
pub(crate) fn show(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// Reads a duration of at least a millisecond from a configuration value: a number of seconds, or a text.
pub(crate) fn deserialize_positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_positive(&written(deserializer)?).map_err(serde::de::Error::custom)
}

/// Reads a duration that may be 0 from a configuration value.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&written(deserializer)?).map_err(serde::de::Error::custom)
}

/// Writes a duration as a text.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*duration))
}

/// The same for durations that may be absent.
pub(crate) mod optional {
    use std::time::Duration;

    use serde::{Deserializer, Serialize, Serializer};

    /// Reads a duration of at least a millisecond from a configuration value.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize_positive(deserializer).map(Some)
    }

    /// Writes a duration as a text.
    #[expect(clippy::ref_option, reason = "serde passes a reference")]
    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(super::show).serialize(serializer)
    }
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Written)
}

struct Written;

impl Visitor<'_> for Written {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"600s\" or \"10m\", or a number of seconds")
    }

    fn visit_i64<E>(self, seconds: i64) -> Result<String, E> {
        Ok(seconds.to_string())
    }

    fn visit_f64<E>(self, seconds: f64) -> Result<String, E> {
        Ok(seconds.to_string())
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        let seconds = |text| parse_positive(text).unwrap().as_secs_f64();
        let read = ["600", "600s", "2.5s", "10m", "1h", "250ms", " 3 s "].map(seconds);
        assert_eq!(read, [600.0, 600.0, 2.5, 600.0, 3600.0, 0.25, 3.0]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for text in ["0", "0s", "-5s", "-1", "0.1ms"] {
            assert_eq!(parse_positive(text).unwrap_err(), "must be more than 0", "{text}");
        }
        for text in ["721h", "1e300", "inf", "99999999999h"] {
            assert!(parse_positive(text).is_err(), "{text}");
        }
        for text in ["", "s", "NaN", "soon", "5 weeks", "5µs", "1m30s", "1h 5"] {
            assert!(parse(text).unwrap_err().starts_with("not a duration"), "{text}");
        }
        assert_eq!(parse("0").unwrap(), Duration::ZERO);
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for millis in [1, 250, 1000, 2500, 600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_positive(&show(duration)).unwrap(), duration);
        }
    }
}
