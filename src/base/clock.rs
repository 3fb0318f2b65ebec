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
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// The end of a day that is written `2027-01-31`, in UTC: the first moment that is no longer of it. Nothing for what is no date after 1970.
    #[must_use]
    pub fn end_of_day(date: &str) -> Option<Self> {
        let parts: Vec<&str> = date.split('-').collect();
        let [year, month, day] = parts.as_slice() else {
            return None;
        };
        let number = |text: &str, letters: usize| -> Option<u64> {
            let is_whole = text.len() == letters && text.bytes().all(|byte| byte.is_ascii_digit());
            is_whole.then(|| text.parse().ok()).flatten()
        };
        let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        // Days from civil, the other way round than below.
        let shifted_year = if month > 2 { year } else { year - 1 };
        let era = shifted_year / 400;
        let year_of_era = shifted_year % 400;
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        let end = Self((days + 1) * 86_400_000);
        // The 31st of a month with 30 days comes out as another day.
        (end.last_day() == date).then_some(end)
    }

    /// The day that ends with this moment, or that it lies in: `2027-01-31`.
    #[must_use]
    pub fn last_day(self) -> String {
        let mut day = Self(self.0.saturating_sub(1)).to_iso();
        day.truncate(10);
        day
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

#[cfg(test)]
mod tests {
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
