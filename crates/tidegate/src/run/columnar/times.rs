//! Dates, times and decimals between Arrow's numbers and their text.

use arrow_schema::TimeUnit;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Returns a date, given in days since 1970, as `2024-02-29`.
pub(crate) fn date(days: i32) -> Option<String> {
    EPOCH.checked_add(Span::new().try_days(days).ok()?).ok().map(|date| date.to_string())
}

/// Reads a date.
pub(crate) fn read_date(text: &str) -> Option<i32> {
    let days = EPOCH.until(text.parse::<Date>().ok()?).ok()?;
    Some(days.get_days())
}

/// Returns a moment as text: with a `Z` if its column has a time zone, else as a clock on a wall shows it.
pub(crate) fn moment(value: i64, unit: TimeUnit, zoned: bool) -> Option<String> {
    let moment = Timestamp::from_nanosecond(i128::from(value) * nanos(unit)).ok()?;
    Some(if zoned { moment.to_string() } else { moment.to_zoned(TimeZone::UTC).datetime().to_string() })
}

/// Reads a moment.
pub(crate) fn read_moment(text: &str, unit: TimeUnit, zoned: bool) -> Option<i64> {
    let moment = match zoned {
        true => text.parse::<Timestamp>().ok()?,
        false => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    let value = moment.as_nanosecond();
    (value % nanos(unit) == 0).then(|| i64::try_from(value / nanos(unit)).ok())?
}

/// Returns a time of day as `13:45:00.5`.
pub(crate) fn time(value: i64, unit: TimeUnit) -> Option<String> {
    let since_midnight = SignedDuration::from_nanos(i64::try_from(i128::from(value) * nanos(unit)).ok()?);
    Time::midnight().checked_add(since_midnight).ok().map(|time| time.to_string())
}

/// Returns a decimal number as text, with all its digits.
pub(crate) fn decimal(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

/// Reads a decimal number that was written so.
pub(crate) fn read_decimal(text: &str, scale: i8) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = usize::try_from(scale).ok()?;
    (fraction.len() == scale).then(|| format!("{whole}{fraction}").parse().ok())?
}

const fn nanos(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn texts_are_what_people_write() {
        assert_eq!(date(19_782).as_deref(), Some("2024-02-29"));
        assert_eq!(moment(1_709_211_600_500, TimeUnit::Millisecond, true).as_deref(), Some("2024-02-29T13:00:00.5Z"));
        assert_eq!(moment(-1, TimeUnit::Second, false).as_deref(), Some("1969-12-31T23:59:59"));
        assert_eq!(time(49_500_500, TimeUnit::Millisecond).as_deref(), Some("13:45:00.5"));
        assert_eq!([decimal(-5, 2), decimal(1234, 0), decimal(12, -2)], ["-0.05", "1234", "1200"]);
        assert_eq!(moment(i64::MAX, TimeUnit::Second, true), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(days in -1_000_000..1_000_000, value in -60_000_000_000_i64..200_000_000_000, number in i64::MIN..i64::MAX) {
            prop_assert_eq!(read_date(&date(days).unwrap()), Some(days));
            for zoned in [true, false] {
                let text = moment(value, TimeUnit::Second, zoned).unwrap();
                prop_assert_eq!(read_moment(&text, TimeUnit::Second, zoned), Some(value));
                let text = moment(number, TimeUnit::Nanosecond, zoned).unwrap();
                prop_assert_eq!(read_moment(&text, TimeUnit::Nanosecond, zoned), Some(number));
            }
            for scale in [0, 1, 30] {
                prop_assert_eq!(read_decimal(&decimal(i128::from(number), scale), scale), Some(i128::from(number)));
            }
        }
    }
}
