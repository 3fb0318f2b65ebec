//! What a request shows at the door: its credential, wherever it stands, and whether it comes from this very machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap, HeaderName, ORIGIN, VIA};

use super::{Refusal, key, ticket, token};
use crate::limits::{KEY_MAX_BYTES, TOKEN_MAX_BYTES};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_MCP_KEY: HeaderName = HeaderName::from_static("x-mcp-key");

/// Names under which clients have put keys into URLs.
const KEY_NAMES: [&str; 12] = [
    "key",
    "apikey",
    "api_key",
    "api-key",
    "x-api-key",
    "x-mcp-key",
    "token",
    "access_token",
    "auth",
    "authorization",
    "bearer",
    "secret",
];

/// A request before it is let in.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The query of its URL.
    pub query: Option<&'a str>,
    /// Whether it opens an event stream, which a browser can open with a ticket alone.
    pub takes_ticket: bool,
    /// Whether it asks for MCP, of which anybody may be let have a part.
    pub speaks_mcp: bool,
    /// Where it comes from.
    pub peer: IpAddr,
}

/// What lets somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    /// A key or a token.
    Key(&'a str),
    /// A one-use ticket.
    Ticket(&'a str),
    Nothing,
}

impl<'a> Door<'a> {
    /// The one credential of the request: `Authorization: Bearer` or `ApiKey`, `X-API-Key`, `X-MCP-Key`, or `?ticket=` where that is taken.
    pub(super) fn shown(&self) -> Result<Shown<'a>, Refusal> {
        let ticket = self.ticket()?;
        match (header(self.headers)?, ticket) {
            (Some(key), None) => Ok(Shown::Key(key)),
            (None, Some(ticket)) => Ok(Shown::Ticket(ticket)),
            (None, None) => Ok(Shown::Nothing),
            (Some(_), Some(_)) => Err(Refusal::Unreadable),
        }
    }

    /// The ticket in the query. A key there is refused, right or wrong: it is in somebody's log by now.
    fn ticket(&self) -> Result<Option<&'a str>, Refusal> {
        let mut found = None;
        for part in self.query.unwrap_or_default().split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if part.contains(key::PREFIX)
                || (!value.is_empty() && KEY_NAMES.iter().any(|own| name.eq_ignore_ascii_case(own)))
            {
                return Err(Refusal::KeyInUrl);
            }
            if name == "ticket" && self.takes_ticket {
                let is_fit = found.is_none() && ticket::is_ticket(value);
                found = Some(is_fit.then_some(value).ok_or(Refusal::Ticket)?);
            }
        }
        Ok(found)
    }

    /// Whether a program on this very machine asks, by all that can be seen: not a page in a browser, and not somebody else through a
    /// proxy that runs here.
    pub(super) fn is_from_this_machine(&self) -> bool {
        let passed_on = |name: &HeaderName| {
            let name = name.as_str();
            name == VIA.as_str()
                || name == FORWARDED.as_str()
                || name == ORIGIN.as_str()
                || name == "referer"
                || name == "x-real-ip"
                || name.starts_with("x-forwarded-")
                || name.starts_with("sec-fetch-")
                || name.starts_with("cf-")
        };
        let mut hosts = self.headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        self.peer.to_canonical().is_loopback()
            && hosts.next().is_none()
            && host.is_some_and(is_loopback_host)
            && !self.headers.keys().any(passed_on)
    }
}

/// `localhost`, `127.0.0.1` or `[::1]`, with a port or without.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match literal {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok_and(|v6| v6.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<Ipv4Addr>().is_ok_and(|v4| v4.is_loopback())
        }
    }
}

/// The key or token in the headers.
fn header(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut found: Option<&str> = None;
    for (name, value) in [AUTHORIZATION, X_API_KEY, X_MCP_KEY]
        .iter()
        .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
    {
        let text = value.to_str().map_err(|_| Refusal::Unreadable)?;
        let key = if name == AUTHORIZATION {
            let (scheme, key) = text.trim().split_once(' ').ok_or(Refusal::Unreadable)?;
            if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("apikey") {
                return Err(Refusal::Unreadable);
            }
            key.trim()
        } else {
            text.trim()
        };
        // Some bridges send the same key twice under two names; two different ones are a riddle that is not solved by guessing.
        let at_most = if token::is_token(key) {
            TOKEN_MAX_BYTES
        } else {
            KEY_MAX_BYTES
        };
        if key.is_empty() || key.len() > at_most || found.is_some_and(|other| other != key) {
            return Err(Refusal::Unreadable);
        }
        found = Some(key);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn is_local(peer: &str, pairs: &[(&'static str, &str)]) -> bool {
        let headers = headers(pairs);
        let door = Door {
            headers: &headers,
            query: None,
            takes_ticket: false,
            speaks_mcp: true,
            peer: peer.parse().unwrap(),
        };
        door.is_from_this_machine()
    }

    #[test]
    fn a_program_on_this_machine_is_known_by_address_and_host() {
        for (peer, host) in [
            ("127.0.0.1", "127.0.0.1:8080"),
            ("127.0.0.1", "localhost"),
            ("127.9.9.9", "LOCALHOST:8080"),
            ("::1", "[::1]:8080"),
            ("::ffff:127.0.0.1", "[::1]"),
        ] {
            assert!(is_local(peer, &[("host", host)]), "{peer} {host}");
        }
        for (peer, host) in [
            ("192.168.1.20", "127.0.0.1:8080"),
            ("10.0.0.1", "localhost"),
            ("fd00::1", "[::1]:8080"),
            ("127.0.0.1", "rack.local"),
            ("127.0.0.1", "192.168.1.5:8080"),
            ("127.0.0.1", "localhost.evil.example"),
            ("127.0.0.1", "evil.example:8080"),
            ("127.0.0.1", "[localhost]"),
            ("127.0.0.1", "0.0.0.0:8080"),
            ("127.0.0.1", ""),
        ] {
            assert!(!is_local(peer, &[("host", host)]), "{peer} {host}");
        }
        assert!(!is_local("127.0.0.1", &[]));
    }

    #[test]
    fn a_page_in_a_browser_and_a_proxy_on_this_machine_are_not_this_machine() {
        let host = ("host", "127.0.0.1:8080");
        for mark in [
            ("origin", "http://127.0.0.1:8080"),
            ("origin", "null"),
            ("referer", "http://127.0.0.1:8080/"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
            ("x-forwarded-for", "192.168.1.20"),
            ("x-forwarded-host", "rack.example"),
            ("x-real-ip", "192.168.1.20"),
            ("forwarded", "for=192.168.1.20"),
            ("via", "1.1 proxy"),
            ("host", "127.0.0.1:8080"),
        ] {
            assert!(!is_local("127.0.0.1", &[host, mark]), "{mark:?}");
        }
    }

    #[test]
    fn a_key_in_a_url_is_refused_wherever_and_however_it_stands_there() {
        let headers = HeaderMap::new();
        let key = key::generate().unwrap();
        let own = key.expose();
        for query in [
            "key=secret",
            "a=b&API_KEY=secret",
            "access_token=x.y.z",
            "token=abc",
            &format!("ticket={own}"),
            &format!("x={own}&ticket=abc"),
            own,
        ] {
            for takes_ticket in [true, false] {
                let door = Door {
                    headers: &headers,
                    query: Some(query),
                    takes_ticket,
                    speaks_mcp: true,
                    peer: IpAddr::from([127, 0, 0, 1]),
                };
                assert_eq!(door.shown(), Err(Refusal::KeyInUrl), "{query}");
            }
        }
        let door = Door {
            headers: &headers,
            query: Some("cursor=5&detail&key="),
            takes_ticket: false,
            speaks_mcp: true,
            peer: IpAddr::from([127, 0, 0, 1]),
        };
        assert_eq!(door.shown(), Ok(Shown::Nothing));
    }
}
