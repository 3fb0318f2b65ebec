//! Server-sent events as they come in (HTML Living Standard, Server-sent events, Parsing an event stream).

use std::time::Duration;

/// The longest pause that a server can ask for before its stream is opened anew.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// An event with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its data: a message.
    pub(super) data: Vec<u8>,
}

/// More than was allowed came without the end of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Reads one stream of events, holding no more than `longest` bytes of it and what one read adds.
#[derive(Debug)]
pub(super) struct Events {
    longest: usize,
    /// What came and was not read yet: at most one line and its neighbours.
    buffer: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The event has a name of its own, and so no message.
    is_other: bool,
    id: Option<String>,
    /// The id of the last event, from which the stream can be resumed.
    pub(super) last_id: Option<String>,
    /// The pause that the server asks for before it is asked to resume.
    pub(super) retry: Option<Duration>,
}

impl Events {
    /// Events of at most that many bytes.
    pub(super) const fn new(longest: usize) -> Self {
        Self {
            longest,
            buffer: Vec::new(),
            data: Vec::new(),
            has_data: false,
            is_other: false,
            id: None,
            last_id: None,
            retry: None,
        }
    }

    /// Forgets the event that was cut off, before the stream is resumed.
    pub(super) fn resume(&mut self) {
        self.buffer.clear();
        self.data.clear();
        self.has_data = false;
        self.is_other = false;
        self.id = None;
    }

    /// Takes a piece of the stream.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        if self.buffer.len() + self.data.len() > self.longest {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// The next event with a message that is complete. Any other only moves [`Events::last_id`].
    pub(super) fn next(&mut self) -> Option<Event> {
        let mut read = 0;
        let mut found = None;
        while found.is_none() {
            let unread = self.buffer.get(read..).unwrap_or_default();
            let Some(length) = unread.iter().position(|byte| *byte == b'\n') else {
                break;
            };
            let line = unread.get(..length).unwrap_or_default().to_vec();
            read += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                found = self.dispatch();
            } else {
                self.field(line);
            }
        }
        self.buffer.drain(..read);
        found
    }

    fn dispatch(&mut self) -> Option<Event> {
        if let Some(id) = self.id.take() {
            self.last_id = Some(id);
        }
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        let is_other = std::mem::take(&mut self.is_other);
        (has_data && !data.is_empty() && !is_other).then_some(Event { data })
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (
                line.get(..at).unwrap_or_default(),
                line.get(at + 1..).unwrap_or_default(),
            ),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"id" => {
                self.id = std::str::from_utf8(value)
                    .ok()
                    .filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()))
                    .map(ToOwned::to_owned);
            }
            b"retry" => {
                let millis = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                if let Some(millis) = millis {
                    self.retry = Some(Duration::from_millis(millis).min(RETRY_MAX));
                }
            }
            b"event" => self.is_other = !matches!(value, b"" | b"message"),
            // A comment, or a field of a later time.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(input: &[u8], size: usize) -> (Vec<String>, Events) {
        let mut events = Events::new(64);
        let mut found = Vec::new();
        for piece in input.chunks(size) {
            events.take(piece).unwrap();
            while let Some(event) = events.next() {
                found.push(String::from_utf8(event.data).unwrap());
            }
        }
        (found, events)
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let input = b":\n\nid: 3f-0\nretry: 800\ndata:\n\nevent: message\nid: 3f-1\ndata: {\"a\":\ndata: 1}\n\ndata:{}\r\n\r\ndata: cut";
        for size in 1..input.len() {
            let (found, events) = events(input, size);
            assert_eq!(found, ["{\"a\":\n1}", "{}"]);
            assert_eq!(events.last_id.as_deref(), Some("3f-1"));
            assert_eq!(events.retry, Some(Duration::from_millis(800)));
        }
    }

    #[test]
    fn what_is_no_message_is_not_taken_for_one() {
        let input = b"event: shutdown_pending\nretry: 1200\ndata: {\"reconnect_after\":1.2}\n\ndata: {}\n\nevent: message\ndata: []\n\n";
        let (found, events) = events(input, 5);
        assert_eq!(found, ["{}", "[]"]);
        assert_eq!(events.retry, Some(Duration::from_millis(1200)));
    }

    #[test]
    fn an_id_counts_once_its_event_is_whole_and_a_cut_event_is_forgotten() {
        let (found, mut events) = events(b"id: 1\ndata: {}\n\nid: 2\ndata: {", 7);
        assert_eq!((found.len(), events.last_id.as_deref()), (1, Some("1")));
        events.resume();
        events.take(b"data: []\n\n").unwrap();
        assert_eq!(events.next().map(|event| event.data), Some(b"[]".to_vec()));
        assert_eq!(events.last_id.as_deref(), Some("1"));
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::new(64);
        let mut taken = 0;
        while events.take(b"data: 0123456789\n").is_ok() {
            assert_eq!(events.next(), None);
            taken += 1;
        }
        assert!(taken < 10, "{taken}");
    }

    #[test]
    fn a_pause_is_never_longer_than_bearable() {
        let (_, events) = events(b"retry: 999999999\n\n", 100);
        assert_eq!(events.retry, Some(RETRY_MAX));
    }
}
