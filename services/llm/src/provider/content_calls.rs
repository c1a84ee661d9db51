//! Tool calls that a model writes into its text.
//!
//! Small models behind llama.cpp answer with `{"name": "calculator", "arguments": {…}}` in the
//! content, bare, in a code fence, in a `<tool_call>` tag, several on several lines. The recogniser
//! reads the content as it streams, gives text on as soon as it cannot be the beginning of a call,
//! and takes for a call only what names a tool that was offered. Looking at the whole content after
//! its end is simpler, and would either stream the JSON to the listener or stream nothing at all.

use serde_json::{Map, Value};

/// Most bytes that are held back as a possible call; longer JSON is text.
const MAX_HELD_BYTES: usize = 64 << 10;
/// Most bytes of fences, tags and white space before the JSON of a call.
const MAX_OPENING_BYTES: usize = 256;
/// Longest language of a code fence.
const MAX_LANGUAGE_BYTES: usize = 16;

const FENCE: &str = "```";
const TAGS: [&str; 8] = [
    "<tool_call>",
    "</tool_call>",
    "<tool_calls>",
    "</tool_calls>",
    "<tools>",
    "</tools>",
    "<function_call>",
    "</function_call>",
];

/// What the content turned out to be, in its order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Text(String),
    Call { name: String, arguments: Value },
}

/// Reads one answer's content.
#[derive(Debug)]
pub(super) struct Recogniser {
    tools: Vec<String>,
    state: State,
    /// What may still become a call.
    held: String,
    /// Text that is none, not yet given on.
    text: String,
    found: Vec<Found>,
    /// Fences, tags and separators right after a call belong to it.
    after_call: bool,
}

#[derive(Debug)]
enum State {
    /// In the middle of a line of text.
    Prose,
    /// Where a call may begin; fences, tags and white space are held.
    LineStart,
    /// In JSON that began at `start` of what is held.
    Json { start: usize, scan: Scan },
}

impl Recogniser {
    pub(super) fn new(tools: impl IntoIterator<Item = String>) -> Self {
        Self {
            tools: tools.into_iter().collect(),
            state: State::LineStart,
            held: String::new(),
            text: String::new(),
            found: Vec::new(),
            after_call: false,
        }
    }

    /// Takes the next fragment and gives what is certain by now.
    pub(super) fn push(&mut self, fragment: &str) -> Vec<Found> {
        for c in fragment.chars() {
            self.step(c);
        }
        self.take()
    }

    /// Gives what was held at the content's end. A call that only lacks its closing brackets counts
    /// when the model stopped by itself (`complete`), and not when it was cut off.
    pub(super) fn finish(&mut self, complete: bool) -> Vec<Found> {
        if let State::Json { start, scan } = &self.state
            && complete
            && let Some(closing) = scan.closing()
            && let Some(json) = self.held.get(*start..)
            && let Some(calls) = calls(&format!("{json}{closing}"), &self.tools)
        {
            self.accept(calls);
        }
        match self.after_call {
            true => self.release_after_call(),
            false => self.release(),
        }
        self.take()
    }

    fn step(&mut self, c: char) {
        match &mut self.state {
            State::Prose => {
                self.text.push(c);
                if c == '\n' {
                    self.state = State::LineStart;
                }
            }
            State::LineStart => {
                self.held.push(c);
                self.open(c);
            }
            State::Json { start, scan } => {
                self.held.push(c);
                let start = *start;
                if scan.step(c) {
                    self.close(start);
                } else if self.held.len() > MAX_HELD_BYTES {
                    self.release();
                }
            }
        }
    }

    /// Decides about what is held at the beginning of a line, whose last character is `c`.
    fn open(&mut self, c: char) {
        match opening(&self.held, self.after_call) {
            Opening::Json => {
                let start = self.held.len() - c.len_utf8();
                let mut scan = Scan::default();
                scan.step(c);
                self.state = State::Json { start, scan };
            }
            Opening::Perhaps if self.held.len() <= MAX_OPENING_BYTES => {}
            Opening::Perhaps => self.release(),
            Opening::No if self.after_call => self.release_after_call(),
            Opening::No => self.release(),
        }
    }

    /// The JSON that began at `start` is complete.
    fn close(&mut self, start: usize) {
        let json = self.held.get(start..).unwrap_or_default();
        match calls(json, &self.tools) {
            Some(calls) => self.accept(calls),
            None => self.release(),
        }
    }

    fn accept(&mut self, calls: Vec<Found>) {
        self.flush();
        self.found.extend(calls);
        self.held.clear();
        self.after_call = true;
        self.state = State::LineStart;
    }

    fn release(&mut self) {
        self.text.push_str(&self.held);
        self.held.clear();
        self.after_call = false;
        self.state = State::Prose;
    }

    /// Releases without the fences and tags that closed the call before.
    fn release_after_call(&mut self) {
        let rest = self.held.trim_start_matches(is_separator);
        let rest = TAGS.iter().fold(rest, |rest, tag| {
            rest.strip_prefix(tag)
                .unwrap_or(rest)
                .trim_start_matches(is_separator)
        });
        let rest = rest
            .strip_prefix(FENCE)
            .unwrap_or(rest)
            .trim_start_matches(is_separator);
        self.held = rest.to_owned();
        self.release();
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.found.push(Found::Text(std::mem::take(&mut self.text)));
        }
    }

    fn take(&mut self) -> Vec<Found> {
        self.flush();
        std::mem::take(&mut self.found)
    }
}

/// Where the brackets of a JSON value stand.
#[derive(Debug, Default)]
struct Scan {
    open: Vec<char>,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes a character; true when it closes the value.
    fn step(&mut self, c: char) -> bool {
        if self.in_string {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match c {
            '"' => self.in_string = true,
            '{' => self.open.push('}'),
            '[' => self.open.push(']'),
            '}' | ']' => {
                self.open.pop();
                return self.open.is_empty();
            }
            _ => {}
        }
        false
    }

    /// The brackets that are missing; none within a string, where more than brackets is missing.
    fn closing(&self) -> Option<String> {
        (!self.in_string).then(|| self.open.iter().rev().collect())
    }
}

enum Opening {
    /// The last character begins JSON.
    Json,
    /// So far only what may stand before a call.
    Perhaps,
    No,
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '}' | ']')
}

fn opening(held: &str, after_call: bool) -> Opening {
    let mut rest = held;
    loop {
        rest = match after_call {
            true => rest.trim_start_matches(is_separator),
            false => rest.trim_start(),
        };
        if rest.is_empty() {
            return Opening::Perhaps;
        }
        if rest.starts_with(['{', '[']) {
            return Opening::Json;
        }
        if let Some(after) = rest.strip_prefix(FENCE) {
            let body = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            if after.len() - body.len() > MAX_LANGUAGE_BYTES {
                return Opening::No;
            }
            rest = body;
        } else if let Some(after) = TAGS.iter().find_map(|tag| rest.strip_prefix(tag)) {
            rest = after;
        } else if FENCE.starts_with(rest) || TAGS.iter().any(|tag| tag.starts_with(rest)) {
            return Opening::Perhaps;
        } else {
            return Opening::No;
        }
    }
}

/// The calls that a JSON value is, if it is nothing but calls of offered tools.
fn calls(json: &str, tools: &[String]) -> Option<Vec<Found>> {
    let value = serde_json::from_str(json)
        .or_else(|_| serde_json::from_str(&escape_controls(json)))
        .ok()?;
    let items = match value {
        Value::Array(items) if !items.is_empty() => items,
        Value::Object(mut object) => match object.remove("tool_calls") {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => vec![Value::Object(object)],
        },
        _ => return None,
    };
    items.into_iter().map(|item| call(item, tools)).collect()
}

fn call(item: Value, tools: &[String]) -> Option<Found> {
    let Value::Object(mut object) = item else {
        return None;
    };
    if let Some(Value::Object(inner)) = object.get_mut("function") {
        object = std::mem::take(inner);
    }
    let name = object.get("name")?.as_str()?.to_owned();
    if !tools.contains(&name) {
        return None;
    }
    let arguments = object
        .remove("arguments")
        .or_else(|| object.remove("parameters"))?;
    let arguments = match arguments {
        Value::Null => Value::Object(Map::new()),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    };
    Some(Found::Call { name, arguments })
}

/// Models write line breaks into JSON strings as they are.
fn escape_controls(json: &str) -> String {
    let (mut escaped, mut scan) = (String::with_capacity(json.len()), Scan::default());
    for c in json.chars() {
        match c {
            '\n' if scan.in_string => escaped.push_str("\\n"),
            '\r' if scan.in_string => escaped.push_str("\\r"),
            '\t' if scan.in_string => escaped.push_str("\\t"),
            _ => escaped.push(c),
        }
        scan.step(c);
    }
    escaped
}

#[cfg(test)]
#[path = "content_calls_tests.rs"]
mod tests;
