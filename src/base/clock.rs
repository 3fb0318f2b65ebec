//! Wall-clock stamps. Durations and deadlines use `tokio::time::Instant`, which tests can pause; only what people read uses this.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00Z, as the box believes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The moment now. A clock before 1970 (a board without a clock chip) reads as 0.
    #[must_use]
    pub fn now() -> Self {
        Self(u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX))
    }

    /// The end of a day that is written `2027-01-31`, in UTC: the first moment that is no longer of it.
    #[must_use]
    pub fn end_of_day(date: &str) -> Option<Self> {
        let begin = Self::from_iso(date).filter(|_| !date.contains('T'))?;
        Some(Self(begin.0 + 86_400_000))
    }

    /// The day that ends with this moment, or that it lies in: `2027-01-31`.
    #[must_use]
    pub fn last_day(self) -> String {
        let mut day = Self(self.0.saturating_sub(1)).to_iso();
        day.truncate(10);
        day
    }

    /// `2012-05-14T16:57:21.123Z`
    #[must_use]
    pub fn to_iso_millis(self) -> String {
        let mut text = self.to_iso();
        text.truncate(text.len() - 1);
        text + &format!(".{:03}Z", self.0 % 1_000)
    }

    /// Reads `2027-01-31`, `2027-01-31T18:55Z`, `2027-01-31T18:55:01Z` and the same with a fraction of a second. UTC alone: a zone
    /// that is left to guessing is a wrong hour sooner or later.
    #[must_use]
    pub fn from_iso(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, time.strip_suffix('Z')?),
            None => (text, "00:00"),
        };
        let mut parts = date.split('-');
        let mut number = |digits: usize| whole(parts.next()?, digits);
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut parts = clock.split(':');
        let (hour, minute) = (whole(parts.next()?, 2)?, whole(parts.next()?, 2)?);
        let second = parts.next().map_or(Some(0), |text| whole(text, 2))?;
        let is_time = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
        let is_fraction =
            (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
        if !is_time || !is_fraction {
            return None;
        }
        let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        // Days from civil, the inverse of the rule in `to_iso`.
        let (shifted_year, shifted) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100
            + (153 * shifted + 2) / 5
            + day.checked_sub(1)?;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        let found = Self((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000 + millis);
        // A day that the month does not have comes back as another one.
        found.to_iso().starts_with(date).then_some(found)
    }

    /// `2012-05-14T16:57:21Z`, by the civil-from-days rule of the proleptic Gregorian calendar.
    #[must_use]
    pub fn to_iso(self) -> String {
        let seconds = self.0 / 1_000;
        let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            rest / 3_600,
            rest / 60 % 60,
            rest % 60
        )
    }
}

/// Nanoseconds since 1970, as collectors of traces want them.
#[must_use]
pub fn unix_nanos() -> u64 {
    u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO)
}

/// A number of exactly so many digits.
fn whole(text: &str, digits: usize) -> Option<u64> {
    let is_plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_ends_where_the_next_one_begins_and_what_is_no_day_is_none() {
        for (date, next) in [
            ("2027-01-31", "2027-02-01T00:00:00Z"),
            ("2024-02-28", "2024-02-29T00:00:00Z"),
            ("2024-02-29", "2024-03-01T00:00:00Z"),
            ("1970-01-01", "1970-01-02T00:00:00Z"),
            ("2099-12-31", "2100-01-01T00:00:00Z"),
        ] {
            let end = UnixMillis::end_of_day(date).unwrap();
            assert_eq!(
                (end.to_iso().as_str(), end.last_day().as_str()),
                (next, date)
            );
        }
        for none in [
            "",
            "2027",
            "2027-02-29",
            "2027-04-31",
            "2027-13-01",
            "2027-00-10",
            "2027-1-31",
            "27-01-31",
            "2027-01-31T00:00",
            "+027-01-31",
            "1969-12-31",
            "soon",
        ] {
            assert_eq!(UnixMillis::end_of_day(none), None, "{none}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written_and_nothing_else_is() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2012-05-14T16:57:21.999Z", 1_337_014_641_999),
            ("2012-05-14T16:57:21.9Z", 1_337_014_641_900),
            ("2024-02-29T00:00Z", 1_709_164_800_000),
            ("2099-12-31T23:59:59Z", 4_102_444_799_000),
        ] {
            assert_eq!(
                UnixMillis::from_iso(text),
                Some(UnixMillis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-1-1",
            "1969-12-31",
            "2026-01-01T00:00",
            "2026-01-01T24:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01 00:00Z",
            "2026-01-01T00:00:00+02:00",
            "-026-01-01",
            "2026-00-10",
            "2026-01-00",
            "2026-01-01T00:00:00.éZ",
        ] {
            assert_eq!(UnixMillis::from_iso(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(millis in 0_u64..250_000_000_000_000) {
            let moment = UnixMillis(millis);
            prop_assert_eq!(UnixMillis::from_iso(&moment.to_iso_millis()), Some(moment));
        }

        #[test]
        fn nothing_breaks_the_reader(text in ".{0,40}") {
            let _ = UnixMillis::from_iso(&text);
        }
    }

    #[test]
    fn times_are_written_as_people_and_protocols_read_them() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_337_014_641_999, "2012-05-14T16:57:21Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(UnixMillis(millis).to_iso(), text);
        }
    }
}
