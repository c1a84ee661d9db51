//! Server-sent events, as the HTML standard has browsers read them. Written here because a broken
//! stream is resumed by the id of the last event that was *whole*, which is the parser's to know.

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The id that is in force: this event's or the last one's before it.
    pub(crate) id: Option<String>,
    /// Its type; empty for the default one.
    pub(crate) event: String,
    /// Its data, lines joined.
    pub(crate) data: String,
}

/// An event is longer than any that the platform sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct TooLong;

/// A commit has at most 1 MiB on the bus; as JSON in an event it may grow, but not this much.
pub(crate) const MAX_EVENT_BYTES: usize = 16 << 20;

/// Takes bytes as they come, gives events as they are whole.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    event: SseEvent,
    has_data: bool,
    last_id: Option<String>,
}

impl SseParser {
    /// Takes some bytes.
    ///
    /// # Errors
    /// [`TooLong`]: what comes is not this platform.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        let mut out = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => out.extend(self.end_line()),
                _ => {
                    if self.line.len() + self.event.data.len() >= MAX_EVENT_BYTES {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(out)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.event),
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            // A comment (the empty field), `retry`, or what a later standard adds.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<SseEvent> {
        let mut event = std::mem::take(&mut self.event);
        event.id.clone_from(&self.last_id);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    fn all(text: &str) -> Vec<SseEvent> {
        SseParser::default().push(text.as_bytes()).unwrap()
    }

    fn event(id: Option<&str>, event: &str, data: &str) -> SseEvent {
        SseEvent {
            id: id.map(str::to_owned),
            event: event.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn fields_comments_and_line_ends_of_every_kind() {
        let text = ": hello\r\n\r\nid: 7\revent: text\rdata: a\rdata:b\r\rdata\n\nevent: x\n\n";
        assert_eq!(
            all(text),
            [event(Some("7"), "text", "a\nb"), event(Some("7"), "", "")]
        );
    }

    #[test]
    fn cuts_do_not_matter() {
        let text = "id: 1\r\ndata: größe\r\n\r\n:\n\nid: 2\ndata: {\"a\":1}\n\n";
        let whole = all(text);
        assert_eq!(whole.len(), 2);
        for cut in 1..text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            let mut parser = SseParser::default();
            let mut events = parser.push(left).unwrap();
            events.extend(parser.push(right).unwrap());
            assert_eq!(events, whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_was_not_whole_is_not_an_event() {
        assert_eq!(
            all("id: 1\ndata: a\n\nid: 2\ndata: b"),
            [event(Some("1"), "", "a")]
        );
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = SseParser::default();
        let chunk = vec![b'x'; MAX_EVENT_BYTES / 4];
        let refused = (0..5).any(|_| parser.push(&chunk).is_err());
        assert!(refused);
    }
}
