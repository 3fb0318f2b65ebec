//! Reads of a certificate what a person is shown and what renewal needs: when it is valid, and for whom (RFC 5280, section 4.1). Whether
//! it can be trusted is not judged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::clock::UnixMillis;

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;

/// The object identifier of the subject's alternative names, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Host names and addresses, as they are written in a URL without brackets.
    pub(super) names: Vec<String>,
    pub(super) not_before: UnixMillis,
    pub(super) not_after: UnixMillis,
}

/// Reads a certificate; `None` for what is none.
pub(super) fn read(certificate: &[u8]) -> Option<Reading> {
    let mut outer = Reader(certificate);
    let mut signed = Reader(Reader(outer.expect(SEQUENCE)?).expect(SEQUENCE)?);
    if signed.peek() == Some(VERSION) {
        signed.next()?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        signed.next()?;
    }
    let mut validity = Reader(signed.expect(SEQUENCE)?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let mut names = Vec::new();
    while let Some((tag, content)) = signed.next() {
        if tag == EXTENSIONS {
            let mut extensions = Reader(Reader(content).expect(SEQUENCE)?);
            while let Some((_, extension)) = extensions.next() {
                if let Some(rest) = extension.strip_prefix(ALTERNATIVE_NAMES) {
                    names = alternative_names(rest)?;
                }
            }
        }
    }
    Some(Reading {
        names,
        not_before,
        not_after,
    })
}

fn alternative_names(extension: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader(extension);
    let mut content = reader.next()?;
    if content.0 != OCTETS {
        // First it says whether it is critical.
        content = reader.next()?;
    }
    let mut names = Vec::new();
    let mut reader = Reader(Reader(content.1).expect(SEQUENCE)?);
    while let Some((tag, name)) = reader.next() {
        match tag {
            DNS_NAME => names.extend(
                std::str::from_utf8(name)
                    .ok()
                    .filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
                    .map(ToOwned::to_owned),
            ),
            ADDRESS => names.extend(address(name).map(|address| address.to_string())),
            _ => {}
        }
    }
    Some(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).into())
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<UnixMillis> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year), rest)
        }
        _ => return None,
    };
    let mut parts = rest.chunks_exact(2).map(number);
    let mut part = || parts.next();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(UnixMillis(seconds * 1_000))
}

fn number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// Days since 1970-01-01, by the days-from-civil rule of the proleptic Gregorian calendar.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Takes one element after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > 3 {
                return None;
            }
            let length = bytes
                .iter()
                .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            (length, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn validity_and_names_of_a_certificate_are_read() {
        let names = ["rack.local", "192.168.1.5", "fd00::5"].map(ToOwned::to_owned);
        let mut wanted = CertificateParams::new(names.clone()).unwrap();
        wanted.not_before = date_time_ymd(1970, 1, 1);
        wanted.not_after = date_time_ymd(2050, 2, 28);
        let made = wanted.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let reading = read(made.der()).unwrap();
        assert_eq!(reading.names, names);
        assert_eq!(reading.not_before, UnixMillis(0));
        assert_eq!(reading.not_after.to_iso(), "2050-02-28T00:00:00Z");
        for cut in 0..made.der().len() {
            let _never_panics = read(&made.der()[..cut]);
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (tag, text, iso) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "700101000000Z", Some("1970-01-01T00:00:00Z")),
            (
                GENERALIZED_TIME,
                "20240229120000Z",
                Some("2024-02-29T12:00:00Z"),
            ),
            (UTC_TIME, "500101000000Z", None),
            (UTC_TIME, "2401010000Z", None),
            (GENERALIZED_TIME, "20241301000000Z", None),
            (UTC_TIME, "24010100000xZ", None),
        ] {
            let read = time((tag, text.as_bytes())).map(UnixMillis::to_iso);
            assert_eq!(read.as_deref(), iso, "{text}");
        }
    }
}
