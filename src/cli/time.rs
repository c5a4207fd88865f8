//! Times and spans: how they are printed, the exact forms of a time, and spans as they are typed. What is printed as a time is accepted as one.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// Why an earlier time is refused.
pub(crate) const FROM_1970: &str = "a ledger has times from 1970 on";

/// A time as in an import line: `@SECONDS[.FRACTION]` or RFC 3339, in milliseconds since the Unix epoch. It means the
/// same whenever and wherever it is read. What is finer than a millisecond is cut off: entries have whole milliseconds,
/// so none lies in between.
pub(crate) fn exact(text: &str) -> Result<u64, String> {
    if let Some(seconds) = text.strip_prefix('@') {
        return since_epoch(seconds).ok_or_else(|| format!("{text:?} is no time: @SECONDS or @SECONDS.MILLIS is"));
    }
    let time: Timestamp = text.parse().map_err(|_| {
        format!("{text:?} is no time: @SECONDS[.MILLIS] and RFC 3339 with an offset are (2026-03-01T02:30:00Z)")
    })?;
    millis_of(time).ok_or_else(|| format!("{text:?} is before 1970, and {FROM_1970}"))
}

/// In milliseconds since the Unix epoch; `None` before it.
pub(crate) fn millis_of(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_millisecond()).ok()
}

fn since_epoch(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)
}

/// A time as people and [`exact`] read it: RFC 3339 in UTC with milliseconds, or `@` beyond the year 9999.
pub(crate) fn stamp(millis: u64) -> String {
    match i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()) {
        Some(time) => format!("{time:.3}"),
        None => format!("@{}.{:03}", millis / 1000, millis % 1000),
    }
}

/// A span as it was typed, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Length {
    pub typed: String,
    pub time: Duration,
}

/// A span that is the same whenever it begins: a day has 24 hours, and months and years are none.
pub(crate) fn length(text: &str) -> Result<Length, String> {
    let span: Option<Span> = text.parse().ok().filter(|_| !text.starts_with('+') && !text.ends_with("ago"));
    let time = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let time = time.and_then(|time| Duration::try_from(time).ok());
    let is_none = || format!("{text:?} is no span of time, such as 500ms, 30s, 5m, 1h30m or PT5M");
    time.map(|time| Length { typed: text.to_owned(), time }).ok_or_else(is_none)
}

/// The hour and minute of a time, in UTC.
pub(crate) fn clock(millis: u64) -> String {
    let minutes = millis / 60_000;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// The month, day, hour and minute of a time, in UTC; its hour and minute alone beyond the year 9999.
pub(crate) fn day(millis: u64) -> String {
    let stamp = stamp(millis);
    let date = stamp.get(5..10).filter(|_| !stamp.starts_with('@'));
    date.map_or_else(|| clock(millis), |date| format!("{date} {}", clock(millis)))
}

/// A span in its two largest units.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        _ if millis == 0 => "0s".to_owned(),
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_as_a_time_is_accepted_as_one() {
        for millis in [0, 1, 999, 1_772_330_400_000, 253_402_207_200_000, 253_402_300_799_999, 1 << 48, u64::MAX] {
            assert_eq!(exact(&stamp(millis)), Ok(millis), "{}", stamp(millis));
        }
        assert_eq!(stamp(1_772_330_400_007), "2026-03-01T02:00:00.007Z");
    }

    #[test]
    fn an_exact_time_has_two_forms() {
        assert_eq!(exact("@1772330400"), Ok(1_772_330_400_000));
        assert_eq!(exact("@1772330400.5"), Ok(1_772_330_400_500));
        assert_eq!(exact("@1772330400.0079"), Ok(1_772_330_400_007));
        assert_eq!(exact("2026-03-01T04:00:00+02:00"), Ok(1_772_330_400_000));
        let bad = ["", "@", "@1.", "@.5", "@-1", "@+1", "now", "5m", "2026-03-01T02:00:00", "1969-12-31T23:59:59Z"];
        for bad in bad {
            assert!(exact(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_length_is_a_span_that_is_always_as_long() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("5 minutes", 300_000),
            ("1h30m", 5_400_000),
            ("PT5M", 300_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("0s", 0),
        ] {
            let expected = Length { typed: text.to_owned(), time: Duration::from_millis(millis) };
            assert_eq!(length(text), Ok(expected), "{text}");
        }
        for bad in ["", "5", "5x", "-5m", "+5m", "5m ago", "1mo", "1y", "now", "02:30", "P1Y"] {
            assert!(length(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_span_has_at_most_two_units() {
        let spans = [0, 7, 59_999, 60_000, 3_599_000, 3_660_000, 90_000_000].map(span);
        assert_eq!(spans, ["0s", "7ms", "59s", "1m00s", "59m59s", "1h01m", "1d01h"]);
    }
}
