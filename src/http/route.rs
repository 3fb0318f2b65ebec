//! The whole URL surface. No route can forget its guard: [`Route::access`] has no wildcard arm.

use hyper::Method;

use crate::guard::Scope;

/// Everything that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/mcp`: the MCP endpoint.
    Mcp,
    /// `/sse`: the stream of HTTP+SSE.
    Sse,
    /// `/messages`: what clients of HTTP+SSE post.
    Messages,
    /// `/mcp/ws`: MCP over a WebSocket.
    WebSocket,
    /// `/livez`: the process answers.
    Live,
    /// `/readyz`: the box can do its work.
    Ready,
    /// `/healthz` and `/health`: how well it is.
    Health,
    /// `/`: the status page.
    StatusPage,
    /// `/help`: the documentation.
    Help,
    /// `/openapi.json`: the description of what is here besides MCP.
    OpenApi,
    /// `/auth/token`: a key makes a short-lived token.
    Token,
    /// `/auth/refresh`: a token makes the next one.
    Refresh,
    /// `/auth/ticket`: a key or a token gets a one-use ticket for an event stream.
    Ticket,
    /// `/ca.pem`: the box's own certificate authority.
    Authority,
    /// `/audit.jsonl`: the audit trail as it stands on disk.
    AuditLines,
    /// `/metrics` and `/metrics.json`: numbers for monitoring systems.
    Metrics,
    /// `/claim`: a box that nobody owns yet gets its owner.
    Claim,
    /// `/setup`: the page by which an owner tells the box its Core. It holds nothing itself.
    SetupPage,
    /// `/setup/find` and so on: what that page asks for.
    SetupStep,
    /// `/.well-known/oauth-protected-resource`: which identity provider this server takes tokens of, if any.
    ResourceMetadata,
    /// `/.well-known/…` and `/register`: where clients look for OAuth, which is not here.
    NoOauth,
    /// Anything else.
    Nothing,
}

/// Who may come to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Anybody; details with a key that has this scope.
    OpenDetailBy(Scope),
    /// Any key or token; what it may do is decided per call.
    Key,
    /// A key or token that has this scope.
    KeyWith(Scope),
    /// A key or token that has this scope, or anybody in a network that the configuration opens to scrapers.
    KeyOrScraper(Scope),
    /// A key, and no token.
    KeyAlone,
    /// A token that a key made, and no key.
    TokenAlone,
}

impl Access {
    /// Who may come, in the words of the documentation.
    #[must_use]
    pub fn who(self) -> String {
        match self {
            Self::Open | Self::OpenDetailBy(_) => "anybody".to_owned(),
            Self::Key => "key or token".to_owned(),
            Self::KeyWith(scope) => format!("key or token with `{}`", scope.as_str()),
            Self::KeyOrScraper(scope) => {
                let scope = scope.as_str();
                format!("key or token with `{scope}`, or an address of `metrics.allow`")
            }
            Self::KeyAlone => "key, no token".to_owned(),
            Self::TokenAlone => "token made by a key".to_owned(),
        }
    }
}

impl Route {
    /// Every route that exists.
    pub const ALL: [Self; 22] = [
        Self::Mcp,
        Self::Sse,
        Self::Messages,
        Self::WebSocket,
        Self::Live,
        Self::Ready,
        Self::Health,
        Self::StatusPage,
        Self::Help,
        Self::OpenApi,
        Self::Token,
        Self::Refresh,
        Self::Ticket,
        Self::Authority,
        Self::AuditLines,
        Self::Metrics,
        Self::Claim,
        Self::SetupPage,
        Self::SetupStep,
        Self::ResourceMetadata,
        Self::NoOauth,
        Self::Nothing,
    ];

    /// The paths that lead there, as the documentation writes them: `{document}` stands for any text.
    #[must_use]
    pub const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Mcp => &["/mcp"],
            Self::Sse => &["/sse"],
            Self::Messages => &["/messages"],
            Self::WebSocket => &["/mcp/ws"],
            Self::Live => &["/livez"],
            Self::Ready => &["/readyz"],
            Self::Health => &["/healthz", "/health"],
            Self::StatusPage => &["/"],
            Self::Help => &["/help"],
            Self::Authority => &["/ca.pem"],
            Self::Ticket => &["/auth/ticket"],
            Self::AuditLines => &["/audit.jsonl"],
            Self::OpenApi => &["/openapi.json"],
            Self::Metrics => &["/metrics", "/metrics.json"],
            Self::Claim => &["/claim"],
            Self::SetupPage => &["/setup"],
            Self::SetupStep => &["/setup/find", "/setup/check", "/setup/core", "/setup/key"],
            Self::Token => &["/auth/token"],
            Self::Refresh => &["/auth/refresh"],
            Self::ResourceMetadata => &[
                "/.well-known/oauth-protected-resource",
                "/.well-known/oauth-protected-resource/mcp",
            ],
            Self::NoOauth => &["/.well-known/{document}", "/register"],
            Self::Nothing => &["/{anything}"],
        }
    }

    /// The route of a path, compared byte by byte: no decoding, no dots, no doubled slashes.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path {
            "/mcp" => Self::Mcp,
            "/sse" => Self::Sse,
            "/messages" => Self::Messages,
            "/mcp/ws" => Self::WebSocket,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/healthz" | "/health" => Self::Health,
            "/" => Self::StatusPage,
            "/help" => Self::Help,
            "/openapi.json" => Self::OpenApi,
            "/metrics" | "/metrics.json" => Self::Metrics,
            "/claim" => Self::Claim,
            "/setup" => Self::SetupPage,
            "/setup/find" | "/setup/check" | "/setup/core" | "/setup/key" => Self::SetupStep,
            "/auth/token" => Self::Token,
            "/auth/refresh" => Self::Refresh,
            "/auth/ticket" => Self::Ticket,
            "/ca.pem" => Self::Authority,
            "/audit.jsonl" => Self::AuditLines,
            "/.well-known/oauth-protected-resource"
            | "/.well-known/oauth-protected-resource/mcp" => Self::ResourceMetadata,
            "/register" => Self::NoOauth,
            _ if path.starts_with("/.well-known/") => Self::NoOauth,
            _ => Self::Nothing,
        }
    }

    /// Who may come.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::Mcp | Self::Sse | Self::Messages | Self::WebSocket | Self::Ticket => Access::Key,
            Self::StatusPage | Self::Help | Self::OpenApi => Access::KeyWith(Scope::Read),
            Self::AuditLines | Self::SetupStep => Access::KeyWith(Scope::Admin),
            Self::Metrics => Access::KeyOrScraper(Scope::Read),
            Self::Token => Access::KeyAlone,
            Self::Refresh => Access::TokenAlone,
            Self::Ready | Self::Health => Access::OpenDetailBy(Scope::Read),
            Self::Live
            | Self::Authority
            | Self::Claim
            | Self::SetupPage
            | Self::ResourceMetadata
            | Self::NoOauth
            | Self::Nothing => Access::Open,
        }
    }

    /// Whether MCP is spoken there, so that refusals are JSON-RPC.
    #[must_use]
    pub const fn is_mcp(self) -> bool {
        matches!(
            self,
            Self::Mcp | Self::Sse | Self::Messages | Self::WebSocket
        )
    }

    /// Whether a request opens an event stream, for which a browser has no headers: there a one-use ticket in the query is taken.
    #[must_use]
    pub fn takes_ticket(self, method: &Method) -> bool {
        matches!(self, Self::Mcp | Self::Sse | Self::WebSocket) && method == Method::GET
    }

    /// The verbs, as the header `Allow` names them.
    #[must_use]
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Mcp => "POST, GET, DELETE",
            Self::Messages | Self::Token | Self::Refresh | Self::Ticket | Self::SetupStep => "POST",
            Self::Sse | Self::WebSocket | Self::AuditLines => "GET",
            Self::Live
            | Self::Ready
            | Self::Health
            | Self::StatusPage
            | Self::Help
            | Self::Authority
            | Self::Metrics
            | Self::OpenApi
            | Self::SetupPage
            | Self::ResourceMetadata => "GET, HEAD",
            Self::Claim | Self::NoOauth => "GET, HEAD, POST",
            Self::Nothing => "",
        }
    }

    /// Whether the verb is one of [`Route::allow`]. A path where nothing is answers every verb in the same way.
    #[must_use]
    pub fn allows(self, method: &Method) -> bool {
        let allow = self.allow();
        allow.is_empty() || allow.split(", ").any(|verb| verb == method.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_route_and_tricks_lead_nowhere() {
        for (path, route) in [
            ("/mcp", Route::Mcp),
            ("/", Route::StatusPage),
            ("/health", Route::Health),
            ("/healthz", Route::Health),
            (
                "/.well-known/oauth-protected-resource/mcp",
                Route::ResourceMetadata,
            ),
            ("/.well-known/oauth-authorization-server", Route::NoOauth),
            ("/register", Route::NoOauth),
            ("/sse", Route::Sse),
            ("/messages", Route::Messages),
            ("/mcp/ws", Route::WebSocket),
            ("/mcp/", Route::Nothing),
            ("/MCP", Route::Nothing),
            ("//mcp", Route::Nothing),
            ("/livez/../mcp", Route::Nothing),
            ("/%6dcp", Route::Nothing),
            ("", Route::Nothing),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    /// The rows of the table in the documentation that belong to a route.
    fn rows(route: Route) -> Vec<String> {
        let verbs = match route.allow() {
            "" => "any",
            verbs => verbs,
        };
        let row = |path: &str, who: String| format!("| `{path}` | {verbs} | {who} |");
        let paths = route.paths().iter();
        let mut rows: Vec<String> = paths
            .clone()
            .map(|path| row(path, route.access().who()))
            .collect();
        if let Access::OpenDetailBy(scope) = route.access() {
            let who = Access::KeyWith(scope).who();
            rows.extend(paths.map(|path| row(&format!("{path}?detail"), who.clone())));
        }
        rows
    }

    #[test]
    fn every_route_has_its_row_in_the_documentation_and_there_is_no_other() {
        let text = include_str!("../docs/access.md");
        let (_, table) = text.split_once("| Path | Verbs | Who |").unwrap();
        let written: Vec<&str> = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let mut wanted: Vec<String> = Route::ALL.into_iter().flat_map(rows).collect();
        for row in &written {
            assert!(
                wanted.iter().any(|other| other == row),
                "nothing is there: {row}"
            );
            wanted.retain(|other| other != row);
        }
        assert!(wanted.is_empty(), "not in src/docs/access.md: {wanted:#?}");
    }

    #[test]
    fn no_route_is_missing_in_the_list_of_all() {
        let source = include_str!("route.rs");
        let (_, variants) = source.split_once("pub enum Route {").unwrap();
        let (variants, _) = variants.split_once("\n}").unwrap();
        let variants: Vec<&str> = variants
            .lines()
            .filter_map(|line| line.trim().strip_suffix(','))
            .filter(|line| !line.starts_with("//"))
            .collect();
        let all = Route::ALL.map(|route| format!("{route:?}"));
        assert_eq!(variants, all);
    }

    #[test]
    fn the_documented_paths_lead_where_they_are_documented() {
        for route in Route::ALL {
            for path in route.paths() {
                let path = path.replace(['{', '}'], "");
                assert_eq!(Route::of(&path), route, "{path}");
            }
        }
    }

    #[test]
    fn only_liveness_the_authority_the_setup_pages_and_the_absence_of_things_are_open() {
        for route in Route::ALL {
            let is_open = route.access() == Access::Open;
            assert_eq!(
                is_open,
                matches!(
                    route,
                    Route::Live
                        | Route::Authority
                        | Route::Claim
                        | Route::SetupPage
                        | Route::ResourceMetadata
                        | Route::NoOauth
                        | Route::Nothing
                )
            );
        }
        assert!(Route::Mcp.allows(&Method::DELETE) && !Route::Mcp.allows(&Method::PUT));
        assert!(!Route::Live.allows(&Method::POST) && Route::Nothing.allows(&Method::PUT));
    }
}
