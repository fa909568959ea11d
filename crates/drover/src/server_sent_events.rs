//! Server-sent events from bytes: what `drover tail` reads. No I/O.

/// The longest line that is kept, in bytes; a longer one is an error.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// One event: its name (`message` when it has none) and its data lines, joined by line feeds.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// The stream has a line above the bound.
#[derive(Debug, PartialEq, Eq)]
pub struct LineTooLong;

/// Takes pieces of the stream as they come, gives whole events.
#[derive(Default)]
pub struct Parser {
    rest: Vec<u8>,
    name: String,
    data: Vec<String>,
    id: String,
    last_id: String,
}

impl Parser {
    /// Goes on behind an event of an earlier stream.
    pub fn after(last_id: String) -> Self {
        Self { id: last_id.clone(), last_id, ..Self::default() }
    }

    /// The id of the last whole event, also of one without data; empty when none had one.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Feeds a piece; returns the events that it completes.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, LineTooLong> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.rest.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            events.extend(self.line(&String::from_utf8_lossy(&line)));
        }
        if self.rest.len() > MAX_LINE {
            return Err(LineTooLong);
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.complete();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push(value.to_owned()),
            "id" => value.clone_into(&mut self.id),
            _ => {}
        }
        None
    }

    fn complete(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let name = std::mem::take(&mut self.name);
        if self.data.is_empty() {
            return None;
        }
        let data = std::mem::take(&mut self.data).join("\n");
        Some(Event { name: if name.is_empty() { "message".to_owned() } else { name }, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn an_event_is_whole_however_the_bytes_are_cut() {
        let stream = b"event: telemetry\r\ndata: {\"a\":1}\r\n\r\n: keep\n\ndata: x\ndata: y\n\n";
        for cut in 0..stream.len() {
            let mut parser = Parser::default();
            let (head, tail) = stream.split_at(cut);
            let mut events = parser.feed(head).unwrap();
            events.extend(parser.feed(tail).unwrap());
            assert_eq!(events, [event("telemetry", "{\"a\":1}"), event("message", "x\ny")], "cut at {cut}");
        }
    }

    #[test]
    fn comments_and_events_without_data_give_nothing() {
        assert_eq!(Parser::default().feed(b": ping\n\nevent: x\n\nid: 1\n\n"), Ok(Vec::new()));
    }

    #[test]
    fn the_last_id_is_that_of_the_last_whole_event() {
        let mut parser = Parser::after("0".to_owned());
        for (piece, last_id) in [
            (": ping\n\n", "0"),
            ("id: 1\n\n", "1"),
            ("id: 2\ndata: x\n", "1"),
            ("\n", "2"),
            ("data: y\n\nid: 3\n", "2"),
        ] {
            parser.feed(piece.as_bytes()).unwrap();
            assert_eq!(parser.last_id(), last_id, "after {piece:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_bound() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&vec![b'x'; MAX_LINE + 1]), Err(LineTooLong));
    }
}
