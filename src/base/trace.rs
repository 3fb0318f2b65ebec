//! What ties together everything that one message caused: a request id, and the trace of W3C Trace Context that it is part of.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::{CompactString, format_compact};

use super::text;

/// Longest id that is taken from a client, characters. A longer one is replaced.
pub const REQUEST_ID_MAX: usize = 64;

/// The ids of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The client's own, or one that was made here.
    pub request: CompactString,
    /// Where this message stands in a trace.
    pub parent: TraceParent,
    /// The span of the sender that this one is part of, if the sender gave the trace; otherwise that begins here.
    pub caused_by: Option<NonZeroU64>,
}

impl Trace {
    /// The same with the id that its sender wishes, if that is a good one.
    #[must_use]
    pub fn wished(mut self, request: &str) -> Self {
        if is_id(request) {
            self.request = request.into();
        }
        self
    }

    /// The same as part of this trace, unless the sender gave another one already.
    #[must_use]
    pub fn joined(mut self, parent: Option<TraceParent>) -> Self {
        if let (Some(parent), None) = (parent, self.caused_by) {
            self.parent.trace = parent.trace;
            self.parent.flags = parent.flags & SAMPLED;
            self.caused_by = NonZeroU64::new(parent.span);
        }
        self
    }

    /// The same with a span of its own: one of several messages that came together.
    #[must_use]
    pub fn part(mut self, traces: &Traces) -> Self {
        self.parent.span = traces.span();
        self
    }

    /// Whether this part of the trace goes to a collector.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.parent.is_recorded
    }

    /// The same, recorded or not. What is recorded here says so to others; what is not leaves what its sender said.
    #[must_use]
    pub const fn recorded(mut self, is_recorded: bool) -> Self {
        self.parent.is_recorded = is_recorded;
        if is_recorded {
            self.parent.flags = SAMPLED;
        }
        self
    }
}

/// The flag by which a sender says that it records the trace.
const SAMPLED: u8 = 1;

/// `traceparent` of W3C Trace Context, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
    /// This part of the trace goes to a collector of this box.
    is_recorded: bool,
}

impl TraceParent {
    /// Reads a header or a field of `_meta`. Strict: exactly the form of version 00, lower case, nothing all zeros (Trace Context,
    /// section 3.2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let mut parts = text.split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if !is_plain || version != "00" || parts.next().is_some() {
            return None;
        }
        let parsed = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
            is_recorded: false,
        };
        (parsed.trace != 0 && parsed.span != 0).then_some(parsed)
    }

    /// The id of the trace.
    #[must_use]
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The id of the span in it.
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// Whether whoever wrote it may have recorded it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(55);
        let _ = write!(
            text,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        );
        text
    }
}

/// Makes ids. They are unique, not secret.
#[derive(Debug)]
pub struct Traces {
    /// Another one at each start.
    seed: u64,
    next: AtomicU64,
}

impl Default for Traces {
    fn default() -> Self {
        // Without randomness ids repeat after a restart, and nothing else suffers.
        Self {
            seed: getrandom::u64().unwrap_or(1),
            next: AtomicU64::new(1),
        }
    }
}

impl Traces {
    /// The ids of a message whose sender gave these, or none. What is not well-formed is replaced.
    pub fn of(&self, request: Option<&str>, parent: Option<&str>) -> Trace {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let span = mixed(self.seed ^ number).max(1);
        Trace {
            request: request
                .filter(|id| is_id(id))
                .map_or_else(|| self.id(number), CompactString::from),
            parent: TraceParent {
                trace: u128::from(mixed(span)) << 64 | u128::from(span),
                span,
                flags: 0,
                is_recorded: false,
            },
            caused_by: None,
        }
        .joined(parent.and_then(TraceParent::parse))
    }

    /// The id of a span within a trace.
    pub fn span(&self) -> u64 {
        mixed(self.seed ^ self.next.fetch_add(1, Ordering::Relaxed)).max(1)
    }

    /// An id that nothing else of this box has, also after a restart.
    pub fn unique(&self) -> CompactString {
        self.id(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Fits into the 24 bytes that need no memory of their own.
    fn id(&self, number: u64) -> CompactString {
        let start = self.seed >> 24;
        format_compact!("{start:010x}-{number:x}")
    }
}

/// Whether a client's id is taken: it comes back in headers and stands in records. A key in the wrong place is none.
fn is_id(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:/+=@-".contains(&byte))
        && text::mask_keys(id) == id
}

/// `SplitMix64`: numbers in a row become numbers that share no digits.
const fn mixed(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_trace_is_carried_on_with_a_span_of_our_own() {
        let traces = Traces::default();
        let trace = traces.of(Some("abc-123"), Some(GOOD));
        assert_eq!(trace.request, "abc-123");
        let text = trace.parent.text();
        assert_eq!(text[..36], GOOD[..36]);
        assert_ne!(text[36..52], GOOD[36..52]);
        assert_eq!(text[52..], GOOD[52..]);
        assert_eq!(TraceParent::parse(GOOD).unwrap().text(), GOOD);
        assert_eq!(trace.caused_by, NonZeroU64::new(0x00f0_67aa_0ba9_02b7));
    }

    #[test]
    fn messages_that_came_together_share_a_trace_and_nothing_else() {
        let traces = Traces::default();
        let whole = traces.of(None, Some(GOOD));
        let (one, other) = (whole.clone().part(&traces), whole.clone().part(&traces));
        assert_ne!(one.parent.span(), other.parent.span());
        assert_ne!(one.parent.span(), whole.parent.span());
        assert_eq!(one.parent.trace(), other.parent.trace());
        assert_eq!(one.caused_by, whole.caused_by);
    }

    #[test]
    fn what_is_recorded_says_so_and_what_is_not_leaves_what_its_sender_said() {
        let traces = Traces::default();
        let own = traces.of(None, None);
        assert!(!own.parent.is_sampled());
        assert!(own.recorded(true).parent.is_sampled());
        let given = traces.of(None, Some(GOOD)).recorded(false);
        assert!(given.parent.is_sampled() && !given.is_recorded());
    }

    #[test]
    fn whatever_is_not_well_formed_is_replaced() {
        let traces = Traces::default();
        let long = "x".repeat(REQUEST_ID_MAX + 1);
        let key = format!("rh_{}", "0123456789".repeat(5));
        for id in ["", "a b", "a\nb", "é", "a\"b", &long, &key] {
            let made = traces.of(Some(id), None).request;
            assert_ne!(made, id);
            assert!(is_id(&made) && !made.is_heap_allocated(), "{made}");
        }
        let upper = GOOD.to_uppercase();
        let more = format!("{GOOD}-00");
        for parent in [
            "",
            &upper,
            &more,
            &GOOD[..54],
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(parent), None, "{parent}");
            let made = traces.of(None, Some(parent)).parent;
            assert_eq!(TraceParent::parse(&made.text()), Some(made));
        }
    }

    #[test]
    fn ids_that_are_made_differ() {
        let traces = Traces::default();
        let (a, b) = (traces.of(None, None), traces.of(None, None));
        assert_ne!(a.request, b.request);
        assert_ne!(a.parent, b.parent);
        assert_ne!(Traces::default().unique(), Traces::default().unique());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same_way(text in "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}") {
            if let Some(parent) = TraceParent::parse(&text) {
                prop_assert_eq!(parent.text(), text);
            }
        }

        #[test]
        fn nothing_breaks_the_reader(text in ".{0,80}") {
            let _ = TraceParent::parse(&text);
        }
    }
}
