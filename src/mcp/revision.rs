//! Which revisions of MCP are spoken and what differs between them. Nothing outside this file compares dates.

use super::schema::Method;

/// A revision of the protocol. Later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    /// 2024-11-05: the first one.
    R2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches, annotations of tools.
    R2025_03_26,
    /// 2025-06-18: structured results, titles; no batches.
    R2025_06_18,
    /// 2025-11-25: input faults as results.
    R2025_11_25,
    /// 2026-07-28: stateless, metadata on each request.
    R2026_07_28,
}

impl Revision {
    /// Every revision that is spoken, newest first.
    pub const SPOKEN: [Self; 5] = [
        Self::R2026_07_28,
        Self::R2025_11_25,
        Self::R2025_06_18,
        Self::R2025_03_26,
        Self::R2024_11_05,
    ];

    /// What `initialize` is answered with when the client names a revision that has no `initialize` or is not known.
    pub const NEWEST_LEGACY: Self = Self::R2025_11_25;

    /// The first revision without a handshake: a version header from this date on marks a modern request.
    const FIRST_MODERN: Self = Self::R2026_07_28;

    /// The date on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::R2024_11_05 => "2024-11-05",
            Self::R2025_03_26 => "2025-03-26",
            Self::R2025_06_18 => "2025-06-18",
            Self::R2025_11_25 => "2025-11-25",
            Self::R2026_07_28 => "2026-07-28",
        }
    }

    /// The spoken revision of that date.
    #[must_use]
    pub fn parse(date: &str) -> Option<Self> {
        Self::SPOKEN
            .into_iter()
            .find(|revision| revision.as_str() == date)
    }

    /// Whether requests carry their own metadata and no session exists (Basic, Versioning).
    #[must_use]
    pub fn is_modern(self) -> bool {
        self >= Self::FIRST_MODERN
    }

    /// Whether a version header names a modern revision, be it one that we speak or a later one.
    #[must_use]
    pub fn is_modern_date(text: &str) -> bool {
        let is_date = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        is_date && text >= Self::FIRST_MODERN.as_str()
    }

    /// The revision with which an `initialize` that asks for `date` is answered: that one if it is spoken and has a handshake,
    /// else the newest that has (2025-11-25, Lifecycle, Version Negotiation).
    #[must_use]
    pub fn negotiate(date: &str) -> Self {
        Self::parse(date)
            .filter(|revision| !revision.is_modern())
            .unwrap_or(Self::NEWEST_LEGACY)
    }

    /// Whether the revision has this method.
    #[must_use]
    pub fn has(self, method: Method) -> bool {
        match method {
            Method::Discover | Method::Listen => self.is_modern(),
            Method::GetTask | Method::UpdateTask | Method::CancelTask => self.has_tasks(),
            Method::Initialize
            | Method::Ping
            | Method::SetLogLevel
            | Method::Subscribe
            | Method::Unsubscribe => !self.is_modern(),
            Method::ListTools
            | Method::CallTool
            | Method::ListResources
            | Method::ListTemplates
            | Method::ReadResource
            | Method::ListPrompts
            | Method::GetPrompt
            | Method::Complete => true,
        }
    }

    /// Whether a result says `resultType` and names the server in `_meta`.
    #[must_use]
    pub fn marks_results(self) -> bool {
        self.is_modern()
    }

    /// Whether lists say for how long and for whom they may be cached.
    #[must_use]
    pub fn has_cache_hints(self) -> bool {
        self.is_modern()
    }

    /// Whether tools have hints.
    #[must_use]
    pub fn has_annotations(self) -> bool {
        self >= Self::R2025_03_26
    }

    /// Whether tools have output schemas, and results have structured content.
    #[must_use]
    pub fn has_structured_content(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether what is listed has a title beside its name (2025-06-18, changelog).
    #[must_use]
    pub fn has_titles(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether content can be a link to a resource (2025-06-18, changelog).
    #[must_use]
    pub fn has_resource_links(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether content can be a sound (2025-03-26, changelog).
    #[must_use]
    pub fn has_audio(self) -> bool {
        self >= Self::R2025_03_26
    }

    /// Whether completions are a capability that is declared (2025-03-26, changelog). The method is older.
    #[must_use]
    pub fn declares_completions(self) -> bool {
        self >= Self::R2025_03_26
    }

    /// Whether a completion comes with the arguments that are filled in already (2025-06-18, changelog).
    #[must_use]
    pub fn has_completion_context(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether a resource that does not exist has an error code of its own, and is not simply a wrong parameter.
    #[must_use]
    pub fn has_code_for_unknown_resources(self) -> bool {
        !self.is_modern()
    }

    /// Whether wrong arguments of a tool are a result that the model sees, and not a protocol error (2025-11-25, changelog).
    #[must_use]
    pub fn shows_bad_arguments_to_the_model(self) -> bool {
        self >= Self::R2025_11_25
    }

    /// Whether a client that goes away takes its request back (2026-07-28, Cancellation). Elsewhere the request goes on, and a
    /// notification takes it back.
    #[must_use]
    pub fn cancels_on_disconnect(self) -> bool {
        self.is_modern()
    }

    /// Whether the server may send requests of its own while it answers one. Elsewhere questions are results (2026-07-28, MRTR).
    #[must_use]
    pub fn has_server_requests(self) -> bool {
        !self.is_modern()
    }

    /// Whether a person can be asked through the client.
    #[must_use]
    pub fn has_elicitation(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether the extension for tasks can be agreed on. It belongs to the stateless revision; an older one had tasks of another kind.
    #[must_use]
    pub fn has_tasks(self) -> bool {
        self.is_modern()
    }

    /// Whether a question to a person says in which form it is to be put (2025-11-25, Elicitation).
    #[must_use]
    pub fn has_elicitation_modes(self) -> bool {
        self >= Self::R2025_11_25
    }

    /// Whether a session says once which log lines it wants; elsewhere each request says it for itself, and hears none unless it does.
    #[must_use]
    pub fn has_log_level_of_session(self) -> bool {
        !self.is_modern()
    }

    /// Whether progress can say in words what happens.
    #[must_use]
    pub fn has_progress_messages(self) -> bool {
        self >= Self::R2025_03_26
    }

    /// Whether the stream of a call can be taken up again where it broke. Clients of the revision before fail on the event without data
    /// that this needs, and later ones have no such thing (2025-11-25, Transports; 2026-07-28, changelog).
    #[must_use]
    pub fn resumes_streams(self) -> bool {
        self == Self::R2025_11_25
    }

    /// Whether one body may hold an array of messages.
    #[must_use]
    pub fn has_batches(self) -> bool {
        self == Self::R2025_03_26
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialize_is_answered_with_the_same_revision_or_the_newest_that_has_it() {
        for (asked, answered) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2025-03-26"),
            ("2025-06-18", "2025-06-18"),
            ("2025-11-25", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("2099-01-01", "2025-11-25"),
            ("", "2025-11-25"),
        ] {
            assert_eq!(Revision::negotiate(asked).as_str(), answered);
        }
    }

    #[test]
    fn only_dates_from_the_first_modern_one_on_are_modern() {
        for (text, modern) in [
            ("2026-07-28", true),
            ("2027-01-01", true),
            ("2025-11-25", false),
            ("draft", false),
            ("zzzz-zz-zz", false),
            ("2026-07-288", false),
            ("", false),
        ] {
            assert_eq!(Revision::is_modern_date(text), modern, "{text}");
        }
    }

    #[test]
    fn revisions_are_listed_newest_first_and_compare_by_date() {
        assert!(Revision::SPOKEN.is_sorted_by(|a, b| a > b && a.as_str() > b.as_str()));
    }
}
