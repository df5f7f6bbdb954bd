//! Numbers as people read them: counts, shares, sizes, times and money.
//!
//! Everything is rounded before its unit is chosen, so that nothing ever reads `60s` or `1000.0k`.

use std::time::Duration;

/// Writes a whole number with separators: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a count and what is counted: `1 row`, `2,000 rows`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Writes a number with three digits or so: `0.25`, `9.5`, `105`, `12.3k`, `4.5M`.
pub(crate) fn short(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "B", "T"])
}

/// Writes how often something happens, by the minute where it is rare: `105/s`, `50 rows/s`, `15 rows/min`.
pub(crate) fn rate(per_second: f64, what: &str) -> String {
    match per_second {
        rare if rare < 0.95 => format!("{}{what}/min", short(rare * 60.0)),
        often => format!("{}{what}/s", short(often)),
    }
}

/// Writes a size: `512 B`, `1.2 GB`.
pub(crate) fn bytes(number: u64) -> String {
    scaled(number as f64, 1000.0, &[" B", " kB", " MB", " GB", " TB"])
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut value = number;
    let mut place = 0;
    // 999.5 would be rounded up to a fourth digit.
    while value >= step - 0.5 && place + 1 < units.len() {
        value /= step;
        place += 1;
    }
    format!("{}{}", digits(value), units[place])
}

/// Writes about three digits, without decimals that say nothing.
fn digits(value: f64) -> String {
    let text = match value {
        value if value >= 99.95 => return format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a share: `45.2%`, `100%`.
pub(crate) fn percent(share: f64) -> String {
    // 99.96 % is not done: only the whole is 100.
    let tenths = if share < 1.0 { (share * 1000.0).round().min(999.0) } else { (share * 1000.0).round() };
    if tenths >= 1000.0 { format!("{:.0}%", tenths / 10.0) } else { format!("{:.1}%", tenths / 10.0) }
}

/// Writes a time: `35ms`, `1.2s`, `45s`, `3m 20s`, `2h 05m`, `3d 4h`.
pub(crate) fn duration(time: Duration) -> String {
    let (ms, seconds) = (time.as_millis(), (time.as_secs_f64()).round() as u64);
    match seconds {
        _ if ms < 1000 => format!("{ms}ms"),
        _ if ms < 9950 => format!("{:.1}s", time.as_secs_f64()),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Writes the rest of a time that is counted down, in whole seconds: `1s`, `3m 20s`.
pub(crate) fn countdown(time: Duration) -> String {
    duration(Duration::from_secs(time.as_secs_f64().ceil().max(1.0) as u64)).replace(".0s", "s")
}

/// Writes US dollars with as many decimals as a small amount needs: `$1,234.56`, `$0.0420`, `$0.000031`.
pub(crate) fn money(usd: f64) -> String {
    let decimals = match usd {
        usd if usd == 0.0 || usd >= 0.995 => 2,
        usd if usd >= 0.01 => 4,
        _ => 6,
    };
    let text = format!("{usd:.decimals$}");
    match text.split_once('.') {
        Some((dollars, cents)) => format!("${}.{cents}", dollars.parse().map_or(dollars.to_owned(), count)),
        None => format!("${text}"),
    }
}

/// Makes one line of at most `most` characters from a message that others wrote: without line breaks, and without the
/// control characters that would let it move the cursor.
pub(crate) fn one_line(message: &str, most: usize) -> String {
    let spaced: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        let shown = [0, 7, 999, 1000, 12_345, 1_234_567, u64::MAX].map(count);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "1,234,567", "18,446,744,073,709,551,615"]);
        assert_eq!([0, 1, 2000].map(|n| counted(n, "row", "rows")), ["0 rows", "1 row", "2,000 rows"]);
    }

    #[test]
    fn short_numbers_never_have_four_digits() {
        let shown = [0.0, 0.254, 1.0, 9.96, 12.34, 99.96, 105.4, 999.6, 12_345.0, 999_960.0, 4_500_000.0].map(short);
        assert_eq!(shown, ["0", "0.25", "1", "10", "12.3", "100", "105", "1k", "12.3k", "1M", "4.5M"]);
    }

    #[test]
    fn what_is_rare_is_counted_by_the_minute() {
        assert_eq!([rate(105.2, ""), rate(50.0, " rows"), rate(0.25, " rows")], ["105/s", "50 rows/s", "15 rows/min"]);
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!([0, 512, 1200, 1_230_000_000].map(bytes), ["0 B", "512 B", "1.2 kB", "1.2 GB"]);
    }

    #[test]
    fn a_share_is_100_only_when_all_is_done() {
        assert_eq!([0.0, 0.4523, 0.9999, 1.0, 1.204].map(percent), ["0.0%", "45.2%", "99.9%", "100%", "120%"]);
    }

    #[test]
    fn times_are_rounded_before_the_unit_is_chosen() {
        let shown = |seconds| duration(Duration::from_secs_f64(seconds));
        assert_eq!([0.0, 0.035, 1.24, 9.97, 59.4, 59.6].map(shown), ["0ms", "35ms", "1.2s", "10s", "59s", "1m 00s"]);
        assert_eq!([200.0, 3599.7, 7500.0, 273_600.0].map(shown), ["3m 20s", "1h 00m", "2h 05m", "3d 4h"]);
        let left = |seconds| countdown(Duration::from_secs_f64(seconds));
        assert_eq!([0.0, 0.2, 2.1, 12.0, 199.5].map(left), ["1s", "1s", "3s", "12s", "3m 20s"]);
    }

    #[test]
    fn small_amounts_keep_their_digits() {
        let shown = [0.0, 12.341, 0.9999, 0.042, 0.000_031, 1234.5].map(money);
        assert_eq!(shown, ["$0.00", "$12.34", "$1.00", "$0.0420", "$0.000031", "$1,234.50"]);
    }

    #[test]
    fn a_message_cannot_break_the_line_or_move_the_cursor() {
        assert_eq!(one_line("a\nb\r\n\tc \u{1b}[2Jd", 80), "a b c [2Jd");
        assert_eq!(one_line("éééé", 4), "éééé");
        assert_eq!(one_line("ééé é", 4), "ééé…");
    }
}
