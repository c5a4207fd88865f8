//! Moments as people type them: words, spans back from now, times in a zone, seqs.
//!
//! [`read`] is pure: the present and the zone are values. [`moment`], [`time`] and [`present`] are the edge, where both
//! are asked for once, so that all moments of one command have the same present.

use std::sync::OnceLock;

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};
use taskledger::{At, Seq};

use crate::cli::time::{FROM_1970, exact, millis_of};

/// Which forms there are, for messages.
const FORMS: &str = "\
a moment is now, today or yesterday; a span back, such as 5m, '1w 2d ago' or PT5M; a time, such as \
2026-03-01T02:30:00Z, 2026-03-01T02:30[Europe/Paris], '2026-03-01 02:30', 2026-03-01 or 02:30; @SECONDS[.MILLIS]";

/// When and where a command is typed.
#[derive(Debug, Clone)]
pub(crate) struct Present {
    pub now: Timestamp,
    /// The local time zone, or why there is none to go by.
    pub zone: Result<TimeZone, String>,
}

/// The clock and the zone of the system, as of the first call.
pub(crate) fn present() -> &'static Present {
    static PRESENT: OnceLock<Present> = OnceLock::new();
    PRESENT.get_or_init(|| {
        let zone = TimeZone::try_system().or_else(|_| match std::env::var("TZ") {
            // As the C library has it: where nobody says which zone it is, it is UTC.
            Err(std::env::VarError::NotPresent) => Ok(TimeZone::UTC),
            named => Err(format!(
                "the environment variable TZ names no known time zone ({}): set it to one such as Europe/Paris, or type \
                 the time with its offset",
                named.unwrap_or_default()
            )),
        });
        Present { now: Timestamp::now(), zone }
    })
}

/// A moment to look at.
pub(crate) fn moment(text: &str) -> Result<At, String> {
    read(text, present())
}

/// A time, in milliseconds since the Unix epoch: every moment but a seq.
pub(crate) fn time(text: &str) -> Result<u64, String> {
    match moment(text)? {
        At::Millis(millis) => Ok(millis),
        _ => Err("a seq is no time, and a time is wanted here".to_owned()),
    }
}

/// What a text means to somebody who types it then and there.
pub(crate) fn read(text: &str, present: &Present) -> Result<At, String> {
    if let Some(seq) = text.strip_prefix("seq:") {
        let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = digits.then(|| seq.parse().ok()).flatten();
        return seq
            .map(|seq| At::Seq(Seq(seq)))
            .ok_or_else(|| format!("{text:?} is no seq: seq:N is, such as seq:120"));
    }
    if text.starts_with('@') {
        return exact(text).map(At::Millis);
    }
    let time = match text {
        "now" => present.now,
        "today" | "yesterday" => midnight(text == "yesterday", present)?,
        _ => match (Pieces::parse(text), of_day(text), text.parse::<Span>()) {
            (Ok(pieces), _, _) => of_pieces(text, &pieces, present)?,
            (_, Some(time), _) => {
                let zone = present.zone.clone()?;
                local(zone.to_datetime(present.now).date().to_datetime(time), &zone)?
            }
            (_, _, Ok(span)) if !text.starts_with('+') => back(text, span, present)?,
            (Err(problem), _, _) if looks_like_a_date(text) => {
                return Err(format!("{text:?} is no moment ({problem}); {FORMS}; or seq:N"));
            }
            _ => return Err(format!("{text:?} is no moment; {FORMS}; or seq:N")),
        },
    };
    millis_of(time).map(At::Millis).ok_or_else(|| format!("{text:?} is before 1970, and {FROM_1970}"))
}

/// The beginning of the day, or of the day before.
fn midnight(before: bool, present: &Present) -> Result<Timestamp, String> {
    let zone = present.zone.clone()?;
    let today = zone.to_datetime(present.now).date();
    let date = if before { today.yesterday() } else { Ok(today) };
    let begins = date.and_then(|date| date.to_zoned(zone)).map_err(|problem| problem.to_string())?;
    Ok(begins.timestamp())
}

/// A date with or without a time of day, an offset and a zone.
fn of_pieces(text: &str, pieces: &Pieces<'_>, present: &Present) -> Result<Timestamp, String> {
    let named = pieces.to_time_zone().map_err(|problem| format!("{text:?}: {problem}"))?;
    let day = pieces.date();
    let Some(time) = pieces.time() else {
        if pieces.offset().is_some() {
            return Err(format!("{text:?} has an offset and no time of day"));
        }
        // The day begins where its first moment is: not at midnight where the clock was put forward then.
        let zone = named.map_or_else(|| present.zone.clone(), Ok)?;
        return day.to_zoned(zone).map(|begins| begins.timestamp()).map_err(|problem| problem.to_string());
    };
    let there = day.to_datetime(time);
    let Some(offset) = pieces.to_numeric_offset() else {
        let zone = named.map_or_else(|| present.zone.clone(), Ok)?;
        return local(there, &zone);
    };
    let time = offset.to_timestamp(there).map_err(|problem| format!("{text:?}: {problem}"))?;
    // What ends with Z says when it is, and the zone only for whom; another offset must be one that the zone has then.
    let is_utc = matches!(pieces.offset(), Some(jiff::fmt::temporal::PiecesOffset::Zulu));
    match named {
        Some(zone) if !is_utc && zone.to_offset(time) != offset => {
            let meant = time.display_with_offset(zone.to_offset(time));
            Err(format!("{text:?} has an offset that the zone does not have then; there it is {meant}"))
        }
        _ => Ok(time),
    }
}

/// A time of day alone. The parser would take more than that, and drop what it does not need.
fn of_day(text: &str) -> Option<Time> {
    let is_one = text.contains(':') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
    text.parse().ok().filter(|_| is_one)
}

fn looks_like_a_date(text: &str) -> bool {
    text.bytes().take(4).filter(u8::is_ascii_digit).count() == 4 && text.as_bytes().get(4) == Some(&b'-')
}

/// So long before now. Days and more are those of the calendar: a day ago is the same time of day.
fn back(text: &str, span: Span, present: &Present) -> Result<Timestamp, String> {
    let span = span.abs();
    if let Ok(time) = present.now.checked_sub(span) {
        return Ok(time);
    }
    let then = present.now.to_zoned(present.zone.clone()?).checked_sub(span);
    then.map(|then| then.timestamp()).map_err(|problem| format!("{text:?} ago: {problem}"))
}

/// The time at which a clock on the wall shows this. Where it does so twice or never, both ways to say it.
fn local(there: DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    let read = zone.to_ambiguous_timestamp(there);
    let (before, after, what) = match read.offset() {
        AmbiguousOffset::Unambiguous { offset } => {
            return offset.to_timestamp(there).map_err(|problem| problem.to_string());
        }
        AmbiguousOffset::Gap { before, after } => (after, before, "never was: the clock was put forward over it"),
        AmbiguousOffset::Fold { before, after } => (before, after, "was twice: the clock was put back over it"),
    };
    let reading = |offset: jiff::tz::Offset| {
        let time = offset.to_timestamp(there).map_err(|problem| problem.to_string())?;
        Ok::<_, String>(time.display_with_offset(zone.to_offset(time)).to_string())
    };
    let zone_name = zone.iana_name().map_or_else(|| "the local time zone".to_owned(), str::to_owned);
    let (earlier, later) = (reading(before)?, reading(after)?);
    Err(format!("{there} in {zone_name} {what}; type {earlier} or {later}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::time::stamp;

    /// 2026-03-29T12:00:30.5 in Paris, the day on which the clock was put forward there.
    fn paris() -> Present {
        Present { now: "2026-03-29T10:00:30.5Z".parse().unwrap(), zone: Ok(TimeZone::get("Europe/Paris").unwrap()) }
    }

    fn read_as(text: &str, present: &Present) -> Result<String, String> {
        read(text, present).map(|at| match at {
            At::Millis(millis) => stamp(millis),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn every_form_of_a_moment_is_read() {
        for (text, expected) in [
            ("now", "2026-03-29T10:00:30.500Z"),
            ("today", "2026-03-28T23:00:00.000Z"),
            ("yesterday", "2026-03-27T23:00:00.000Z"),
            ("5m", "2026-03-29T09:55:30.500Z"),
            ("-5m", "2026-03-29T09:55:30.500Z"),
            ("5m ago", "2026-03-29T09:55:30.500Z"),
            ("5 minutes ago", "2026-03-29T09:55:30.500Z"),
            ("PT5M", "2026-03-29T09:55:30.500Z"),
            ("-PT5M", "2026-03-29T09:55:30.500Z"),
            ("90s", "2026-03-29T09:59:00.500Z"),
            ("2h 30m ago", "2026-03-29T07:30:30.500Z"),
            // A day ago it was noon, too, and that is 23 hours.
            ("1d", "2026-03-28T11:00:30.500Z"),
            ("24h", "2026-03-28T10:00:30.500Z"),
            ("1w 2d ago", "2026-03-20T11:00:30.500Z"),
            ("1mo", "2026-02-28T11:00:30.500Z"),
            ("2026-03-01T02:30:00Z", "2026-03-01T02:30:00.000Z"),
            ("2026-03-01T02:30:00.1239Z", "2026-03-01T02:30:00.123Z"),
            ("2026-03-01 02:30:00Z", "2026-03-01T02:30:00.000Z"),
            ("2026-03-01T04:30:00+02:00", "2026-03-01T02:30:00.000Z"),
            ("2026-11-23T10:53[Europe/Paris]", "2026-11-23T09:53:00.000Z"),
            ("2026-07-23T10:53[Europe/Paris]", "2026-07-23T08:53:00.000Z"),
            ("2026-07-23T10:53[America/New_York]", "2026-07-23T14:53:00.000Z"),
            ("2026-07-23T10:53+02:00[Europe/Paris]", "2026-07-23T08:53:00.000Z"),
            ("2026-07-23T10:53Z[Europe/Paris]", "2026-07-23T10:53:00.000Z"),
            ("2026-11-23 10:53", "2026-11-23T09:53:00.000Z"),
            ("2026-11-23T10:53:07", "2026-11-23T09:53:07.000Z"),
            ("2026-11-23", "2026-11-22T23:00:00.000Z"),
            ("2026-11-23[America/New_York]", "2026-11-23T05:00:00.000Z"),
            ("10:53", "2026-03-29T08:53:00.000Z"),
            ("01:53:07.25", "2026-03-29T00:53:07.250Z"),
            ("@1772330400", "2026-03-01T02:00:00.000Z"),
            ("@1772330400.0079", "2026-03-01T02:00:00.007Z"),
            ("seq:0", "Seq(Seq(0))"),
            ("seq:120", "Seq(Seq(120))"),
        ] {
            assert_eq!(read_as(text, &paris()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_with_the_forms_there_are() {
        for bad in [
            "",
            "noon",
            "5",
            "5x",
            "+5m",
            "10",
            "1053",
            "10:61",
            "2026-02-30",
            "2026-13-01T10:00+02:00",
            "now ",
            "5m from now",
            "Z",
            "T10:53",
            "10:53Z",
            "12:00 2026-03-01",
            "1772330400",
            "2026",
            "-",
            "--json",
        ] {
            let refused = read(bad, &paris()).expect_err(bad);
            assert!(refused.contains("5m") && refused.contains("seq:N"), "{bad:?}: {refused}");
        }
        assert!(read("2026-02-30", &paris()).unwrap_err().contains("day"), "and says what is wrong with a date");
        for bad in ["seq:", "seq:-1", "seq:+1", "seq:x", "seq:18446744073709551616", "@", "@1.", "@.5", "@-1", "@+1"] {
            assert!(read(bad, &paris()).is_err(), "{bad:?}");
        }
        for early in ["1969-12-31T23:59:59Z", "100y", "1969-12-31"] {
            assert!(read(early, &paris()).unwrap_err().contains("before 1970"), "{early}");
        }
        assert!(read("20000y", &paris()).is_err(), "out of every calendar");
        let unknown = read("2026-03-01T10:00[Europe/Pariss]", &paris()).unwrap_err();
        assert!(unknown.contains("Europe/Pariss"), "{unknown}");
        let contrary = read("2026-07-23T10:53+01:00[Europe/Paris]", &paris()).unwrap_err();
        assert!(contrary.contains("there it is 2026-07-23T11:53:00+02:00"), "{contrary}");
        assert!(read("2026-03-01+01:00", &paris()).is_err());
    }

    #[test]
    fn a_local_time_that_was_twice_or_never_is_refused_with_both_readings() {
        for (text, earlier, later) in [
            ("2026-10-25 02:30", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
            ("2026-10-25T02:30[Europe/Paris]", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
            ("2026-03-29 02:30", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"),
            ("02:30", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"),
        ] {
            let refused = read(text, &paris()).expect_err(text);
            assert!(refused.ends_with(&format!("type {earlier} or {later}")), "{text}: {refused}");
            assert!(refused.contains("in Europe/Paris"), "{refused}");
            let times = [earlier, later].map(|reading| read(reading, &paris()).expect("it can be typed"));
            let [At::Millis(earlier), At::Millis(later)] = times else { panic!("{times:?} are times") };
            assert_eq!(later - earlier, 3_600_000, "{text}");
        }
        // The day on which the clock is put forward at midnight begins an hour later.
        let begins = read_as("2026-09-06[America/Santiago]", &paris());
        assert_eq!(begins, Ok("2026-09-06T04:00:00.000Z".to_owned()));
    }

    #[test]
    fn without_a_zone_only_what_needs_one_is_refused() {
        let nowhere = Present { zone: Err("no zone: set TZ".to_owned()), ..paris() };
        for fine in ["now", "5m", "24h ago", "2026-03-01T02:30:00Z", "2026-03-01T02:30[Europe/Paris]", "@5", "seq:1"] {
            assert!(read(fine, &nowhere).is_ok(), "{fine}");
        }
        for local in ["today", "yesterday", "1d", "02:30", "2026-03-01", "2026-03-01 02:30"] {
            assert_eq!(read(local, &nowhere), Err("no zone: set TZ".to_owned()), "{local}");
        }
    }

    #[test]
    fn what_is_printed_as_a_time_is_read_as_one_in_any_zone() {
        for zone in ["Europe/Paris", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "UTC"] {
            let present = Present { zone: Ok(TimeZone::get(zone).unwrap()), ..paris() };
            for millis in [0, 1, 999, 1_772_330_400_000, 1_792_891_800_000, 253_402_300_799_999, 1 << 48, u64::MAX] {
                assert_eq!(read(&stamp(millis), &present), Ok(At::Millis(millis)), "{zone}");
            }
        }
    }

    proptest::proptest! {
        /// Whatever is typed is a moment or is refused with a reason; and a refusal has no character that acts unescaped.
        #[test]
        fn nothing_that_is_typed_is_too_much(parts in proptest::collection::vec(proptest::sample::select(&[
            "2026-", "10-25", "T", " ", "02:30", ":00", ".5", "Z", "+02:00", "-", "[Europe/Paris]", "[", "]", "P", "PT", "5", "m",
            "99999999999", "d", "ago", "y", "@", "seq:", "today", "é", "\u{0}", "24", "60", "e", ",", "+", "minutes",
        ][..]), 0..7)) {
            let text = parts.concat();
            if let Err(problem) = read(&text, &paris()) {
                assert!(!problem.is_empty() && !problem.contains('\0'), "{text:?}: {problem:?}");
            }
        }
    }

    /// Where the system has no time zone database.
    #[test]
    fn a_time_zone_database_is_built_in() {
        let built_in = jiff::tz::TimeZoneDatabase::bundled();
        assert_eq!(built_in.get("Europe/Paris").unwrap().iana_name(), Some("Europe/Paris"));
    }
}
