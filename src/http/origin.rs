//! Which `Host` and `Origin` are taken: the defence against DNS rebinding and against pages of other origins.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Version;
use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::uri::Uri;

/// The names under which this server may be addressed, and the web origins that may use it.
///
/// An address literal is always taken as a host: rebinding needs a name that its attacker owns, and no page can be loaded from
/// this server's own address but this server's.
#[derive(Debug, Clone, Default)]
pub struct OriginRules {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// Why a request is refused before anything else is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginFault {
    /// No host, or several.
    #[error("The request must name its host once.")]
    NoHost,
    /// A name that is not this server's.
    #[error(
        "This server does not go by that host name. Use its address, or add the name to the configuration."
    )]
    ForeignHost,
    /// A web page of another origin.
    #[error(
        "Web pages of that origin may not use this server. Add the origin to the configuration if they should."
    )]
    ForeignOrigin,
}

impl OriginFault {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NoHost => 400,
            Self::ForeignHost | Self::ForeignOrigin => 403,
        }
    }
}

impl OriginRules {
    /// Rules for a server that goes by `hosts` (names without port; `localhost` and addresses are always taken) and may be used by
    /// pages of `origins` (`scheme://host[:port]`, as browsers send them) besides its own.
    #[must_use]
    pub fn new(
        hosts: impl IntoIterator<Item = String>,
        origins: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            hosts: hosts
                .into_iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            origins: origins
                .into_iter()
                .map(|origin| origin.to_ascii_lowercase())
                .collect(),
        }
    }

    /// Checks a request; answers the origin to be named in CORS headers, if the request came from a page.
    ///
    /// # Errors
    /// The host or the origin is not taken.
    pub fn check<'a>(
        &self,
        version: Version,
        uri: &Uri,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a HeaderValue>, OriginFault> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next(), uri.authority()) {
            (Some(host), None, _) => host.to_str().map_err(|_| OriginFault::NoHost)?,
            // HTTP/2 names the host in front of the headers (RFC 9113, section 8.3.1).
            (None, _, Some(authority)) if version == Version::HTTP_2 => authority.as_str(),
            _ => return Err(OriginFault::NoHost),
        };
        // An absolute request target overrides the header (RFC 9112, section 3.2.2), so both must be ours.
        let is_ours = self.is_own(host)
            && uri
                .authority()
                .is_none_or(|authority| self.is_own(authority.as_str()));
        if !is_ours {
            return Err(OriginFault::ForeignHost);
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(None),
            (Some(origin), None) if self.is_allowed(origin, host) => Ok(Some(origin)),
            _ => Err(OriginFault::ForeignOrigin),
        }
    }

    /// Anything but `name`, `address` or `[address]`, with a port or without, names nobody.
    fn is_own(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, ""),
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        if let Some(literal) = host.strip_prefix('[') {
            let literal = literal.strip_suffix(']').unwrap_or_default();
            return literal.parse::<Ipv6Addr>().is_ok();
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        host.parse::<Ipv4Addr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }

    /// An origin is taken if it is this very server, or configured.
    fn is_allowed(&self, origin: &HeaderValue, host: &str) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
            || self
                .origins
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<bool, OriginFault> {
        let rules = OriginRules::new(
            ["rack.local".to_owned()],
            ["https://panel.example:8443".to_owned()],
        );
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<hyper::header::HeaderName>().unwrap(),
                    value.parse().unwrap(),
                )
            })
            .collect();
        rules
            .check(Version::HTTP_11, &Uri::from_static("/mcp"), &headers)
            .map(|origin| origin.is_some())
    }

    #[test]
    fn own_names_and_addresses_are_taken_and_others_are_not() {
        for host in [
            "127.0.0.1:8080",
            "192.168.1.5",
            "[::1]:8080",
            "[fe80::1]",
            "localhost:8080",
            "LOCALHOST",
            "rack.local",
            "Rack.Local.:8080",
        ] {
            assert_eq!(check(&[("host", host)]), Ok(false), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "rack.local.evil.example",
            "localhost.evil.example",
            "user@localhost",
            "[::1",
            "::1",
            "[localhost]",
            "localhost:80:80",
            "localhost:http",
            "",
            "a b",
        ] {
            assert_eq!(
                check(&[("host", host)]),
                Err(OriginFault::ForeignHost),
                "{host}"
            );
        }
        assert_eq!(check(&[]), Err(OriginFault::NoHost));
        assert_eq!(
            check(&[("host", "localhost"), ("host", "localhost")]),
            Err(OriginFault::NoHost)
        );
    }

    #[test]
    fn http_2_names_its_host_in_the_target_and_all_that_is_named_must_be_ours() {
        let rules = OriginRules::new(["rack.local".to_owned()], []);
        let check = |version, target: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (HOST, host.parse().unwrap()));
            let headers: HeaderMap = hosts.collect();
            rules
                .check(version, &target.parse().unwrap(), &headers)
                .map(drop)
        };
        let (own, foreign) = ("https://rack.local:8443/mcp", "https://evil.example/mcp");
        let h2 = Version::HTTP_2;
        assert_eq!(check(h2, own, &[]), Ok(()));
        assert_eq!(check(h2, own, &["rack.local:8443"]), Ok(()));
        assert_eq!(check(h2, foreign, &[]), Err(OriginFault::ForeignHost));
        assert_eq!(
            check(h2, foreign, &["rack.local"]),
            Err(OriginFault::ForeignHost)
        );
        assert_eq!(
            check(h2, own, &["evil.example"]),
            Err(OriginFault::ForeignHost)
        );
        assert_eq!(check(h2, "/mcp", &[]), Err(OriginFault::NoHost));
        assert_eq!(check(Version::HTTP_11, own, &[]), Err(OriginFault::NoHost));
    }

    #[test]
    fn only_the_own_origin_and_configured_ones_are_taken() {
        let host = ("host", "127.0.0.1:8080");
        assert_eq!(
            check(&[host, ("origin", "http://127.0.0.1:8080")]),
            Ok(true)
        );
        assert_eq!(
            check(&[host, ("origin", "https://panel.example:8443")]),
            Ok(true)
        );
        for origin in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:9999",
            "https://panel.example",
            "127.0.0.1:8080",
            "",
        ] {
            assert_eq!(
                check(&[host, ("origin", origin)]),
                Err(OriginFault::ForeignOrigin),
                "{origin}"
            );
        }
        // A rebound name agrees with its own page; the host gives it away.
        assert_eq!(
            check(&[("host", "evil.example"), ("origin", "http://evil.example")]),
            Err(OriginFault::ForeignHost)
        );
    }
}
