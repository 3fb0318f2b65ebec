//! Section `[identity-provider]`: nothing of it counts without an issuer, and everything of it with one.

use super::problems::Section;
use super::{JwksPlace, ProviderConfig};
use crate::limits::PROVIDER_ROLES_MAX;

/// The words for roles, weakest first.
const ROLES: [&str; 5] = ["guest", "viewer", "operator", "engineer", "admin"];

pub(super) fn read(mut section: Section<'_>) -> Option<ProviderConfig> {
    let issuer = section.text("issuer");
    let provider = ProviderConfig {
        audience: section.text("audience"),
        resource: section.text("resource"),
        jwks: place(&section.text("jwks")),
        ca_file: section.text("ca-file").into(),
        name_claim: section.text("name-claim"),
        role_claim: section.text("role-claim"),
        roles: section.words("roles", PROVIDER_ROLES_MAX),
        issuer,
    };
    if provider.issuer.is_empty() {
        let is_meant = !provider.audience.is_empty()
            || !provider.resource.is_empty()
            || !provider.roles.is_empty()
            || provider.jwks != JwksPlace::File("".into());
        if is_meant {
            section.fault("issuer", "write the issuer: without it no token is taken");
        }
        return None;
    }
    for (key, value) in [
        ("audience", &provider.audience),
        ("name-claim", &provider.name_claim),
        ("role-claim", &provider.role_claim),
    ] {
        if value.is_empty() {
            section.fault(key, "this is needed with an issuer");
        }
    }
    if let Some(fault) = resource_fault(&provider.resource) {
        section.fault("resource", fault);
    }
    if let Some(fault) = jwks_fault(&provider.jwks) {
        section.fault("jwks", fault);
    }
    if provider.roles.is_empty() {
        section.fault(
            "roles",
            "write what gives a role, such as { \"av-team\" = \"operator\" }: without it everybody is refused",
        );
    }
    for (value, role) in &provider.roles {
        if !ROLES.contains(&role.as_str()) {
            let roles = ROLES.join(", ");
            section.fault(
                &format!("roles.{value}"),
                format!("\"{role}\" is no role; there are {roles}"),
            );
        }
    }
    Some(provider)
}

fn place(text: &str) -> JwksPlace {
    if text.contains("://") {
        JwksPlace::Url(text.to_owned())
    } else {
        JwksPlace::File(text.into())
    }
}

fn uri(text: &str) -> Option<hyper::Uri> {
    let uri: hyper::Uri = text.parse().ok()?;
    let authority = uri.authority()?.as_str();
    let is_plain = !authority.contains('@') && matches!(uri.scheme_str(), Some("http" | "https"));
    is_plain.then_some(uri)
}

fn resource_fault(text: &str) -> Option<String> {
    let is_good = uri(text).is_some_and(|uri| uri.query().is_none()) && !text.contains(['#', '"']);
    (!is_good).then(|| {
        format!("\"{text}\" is not the URL of this box, such as \"https://rack.example/mcp\"")
    })
}

fn jwks_fault(jwks: &JwksPlace) -> Option<String> {
    match jwks {
        JwksPlace::File(path) if path.is_absolute() => None,
        JwksPlace::File(path) => Some(format!(
            "\"{}\" is neither a URL nor the whole path of a file",
            path.display()
        )),
        JwksPlace::Url(text) => {
            let Some(uri) = uri(text) else {
                return Some(format!("\"{text}\" is not an https URL"));
            };
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let is_here = host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback());
            (uri.scheme_str() == Some("http") && !is_here).then(|| {
                "whoever sits between this box and a http URL could make keys of his own: use https".to_owned()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Config;

    const GOOD: &str = "[[core]]\naddress = \"a\"\n[identity-provider]\nissuer = \"https://idp.example\"\naudience = \"box\"\n\
        resource = \"https://box.example/mcp\"\njwks = \"https://idp.example/keys?v=1\"\nroles = { \"av team\" = \"operator\" }\n";

    fn keys(text: &str) -> Vec<String> {
        let (_, problems) = Config::read(text, &BTreeMap::new());
        let problems = problems.as_slice().iter();
        problems.map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn a_provider_is_read_whole_or_not_at_all() {
        let config = Config::load(GOOD, &BTreeMap::new()).unwrap();
        let provider = config.identity_provider.unwrap();
        assert_eq!(
            provider.roles,
            [("av team".to_owned(), "operator".to_owned())]
        );
        assert_eq!(provider.name_claim, "sub");
        let nothing = Config::load("[[core]]\naddress = \"a\"\n", &BTreeMap::new()).unwrap();
        assert_eq!(nothing.identity_provider, None);
        let half = "[[core]]\naddress = \"a\"\n[identity-provider]\naudience = \"x\"\n";
        assert_eq!(keys(half), ["identity-provider.issuer"]);
        let bare = "[[core]]\naddress = \"a\"\n[identity-provider]\nissuer = \"x\"\n";
        for key in ["audience", "resource", "jwks", "roles"] {
            assert!(
                keys(bare).contains(&format!("identity-provider.{key}")),
                "{key}"
            );
        }
    }

    #[test]
    fn urls_and_roles_that_cannot_be_used_are_faults() {
        for (from, to, key) in [
            (
                "https://idp.example/keys",
                "http://idp.example/keys",
                "jwks",
            ),
            ("https://idp.example/keys", "ftp://idp.example/keys", "jwks"),
            (
                "https://idp.example/keys",
                "https://me:pw@idp.example/keys",
                "jwks",
            ),
            ("https://idp.example/keys?v=1", "keys.json", "jwks"),
            ("https://box.example/mcp", "box.example", "resource"),
            (
                "https://box.example/mcp",
                "https://box.example/mcp?key=1",
                "resource",
            ),
            ("\"operator\"", "\"king\"", "roles.av team"),
        ] {
            let found = keys(&GOOD.replace(from, to));
            assert_eq!(found, [format!("identity-provider.{key}")], "{to}");
        }
        for good in [
            "http://127.0.0.1:9/keys",
            "http://[::1]/keys",
            "http://localhost/keys",
            "/etc/keys.json",
        ] {
            assert!(
                keys(&GOOD.replace("https://idp.example/keys?v=1", good)).is_empty(),
                "{good}"
            );
        }
    }
}
