//! Where a box is: the URL that a person writes.

use std::str::FromStr;

use hyper::Uri;

/// The path of the MCP endpoint, for a URL that names none.
const ENDPOINT: &str = "/mcp";

/// Where a box serves MCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// Host and port as they stand in the URL, for the header `Host`.
    pub(super) authority: String,
    pub(super) is_secure: bool,
    /// Whether the URL names the port.
    pub(super) names_port: bool,
}

/// Why a URL is none of a box.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("this is no URL: write it like http://192.168.1.20:8080/mcp")]
    NoUrl,
    /// It has another scheme.
    #[error("a box is reached by http:// or https://, not by {0}://")]
    Scheme(String),
    /// It carries a user, a password or a query.
    #[error("a URL carries no user, key or query: give the key with RACKHAND_KEY or --key-file")]
    Secrets,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let uri: Uri = text.trim().parse().map_err(|_| AddressError::NoUrl)?;
        let scheme = uri.scheme_str().ok_or(AddressError::NoUrl)?;
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            other => return Err(AddressError::Scheme(other.to_owned())),
        };
        let authority = uri.authority().ok_or(AddressError::NoUrl)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(AddressError::Secrets);
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(AddressError::NoUrl);
        }
        let path = match uri.path() {
            "" | "/" => ENDPOINT,
            path => path,
        };
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            path: path.to_owned(),
            authority: authority.as_str().to_owned(),
            is_secure,
            names_port: uri.port_u16().is_some(),
        })
    }
}

impl Address {
    /// Another page of the same box.
    #[must_use]
    pub fn page(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Whether the URL begins with `https`.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_a_person_writes_it() {
        for (text, host, port, path) in [
            ("http://192.168.1.20:8080/mcp", "192.168.1.20", 8080, "/mcp"),
            ("http://rack.local:8080", "rack.local", 8080, "/mcp"),
            (" http://rack.local/ ", "rack.local", 80, "/mcp"),
            ("https://rack.local/other", "rack.local", 443, "/other"),
            ("http://[fe80::1]:8080/mcp", "fe80::1", 8080, "/mcp"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(
                (&*address.host, address.port, &*address.path),
                (host, port, path),
                "{text}"
            );
        }
        let address: Address = "http://rack.local:8080".parse().unwrap();
        assert_eq!(address.to_string(), "http://rack.local:8080/mcp");
    }

    #[test]
    fn what_is_no_url_of_a_box_is_refused_with_the_way_to_one() {
        for (text, fault) in [
            ("", AddressError::NoUrl),
            ("rack.local:8080", AddressError::NoUrl),
            ("/mcp", AddressError::NoUrl),
            ("http://", AddressError::NoUrl),
            ("http://:8080/mcp", AddressError::NoUrl),
            ("ws://rack.local", AddressError::Scheme("ws".to_owned())),
            ("http://user:key@rack.local/mcp", AddressError::Secrets),
            ("http://rack.local/mcp?key=x", AddressError::Secrets),
        ] {
            assert_eq!(text.parse::<Address>(), Err(fault), "{text}");
        }
    }
}
