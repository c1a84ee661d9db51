//! Answers of the gateway as tables and sheets, by columns that are data: a field's place, its
//! heading and its unit. A struct a resource was the alternative; it would repeat the gateway's
//! types only to take them apart again, and refuse what a newer gateway adds.

use nexus_events::{Body, Timestamp};
use serde_json::Value;

use super::format::{count, duration, moment, one_line, usd};
use super::style::{Style, tone_of_status};
use super::table::{Align, Cell, Sheet, Table};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Words, cut to this many characters in a table.
    Text(usize),
    /// A status, with its colour.
    Status,
    /// A number.
    Count,
    /// Micro-dollars.
    Usd,
    /// Milliseconds.
    Millis,
    /// A time.
    Moment,
    /// Something to be marked where it is true.
    Flag,
    /// What the content filter found.
    Findings,
}

/// A column of a table, or a line of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Where it is, as a JSON pointer.
    pub(crate) at: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
}

impl Field {
    /// A field.
    pub(crate) const fn new(title: &'static str, at: &'static str, kind: Kind) -> Self {
        Self { title, at, kind }
    }

    fn align(self) -> Align {
        match self.kind {
            Kind::Count | Kind::Usd | Kind::Millis => Align::Right,
            Kind::Text(_) | Kind::Status | Kind::Moment | Kind::Flag | Kind::Findings => {
                Align::Left
            }
        }
    }

    fn cell(self, item: &Value, whole: bool) -> Option<Cell> {
        let value = item.pointer(self.at).filter(|value| !is_empty(value))?;
        let number = |show: fn(u64) -> String| value.as_u64().map_or_else(|| text(value), show);
        let shown = match self.kind {
            Kind::Text(_) if whole => text(value),
            Kind::Text(width) => one_line(&text(value), width),
            Kind::Status => {
                let status = one_line(&text(value), 40);
                let tone = tone_of_status(&status);
                return Some(Cell::toned(status, tone));
            }
            Kind::Count => number(count),
            Kind::Usd => number(usd),
            Kind::Millis => number(duration),
            Kind::Moment => {
                let at = value.as_str().and_then(Timestamp::parse_rfc3339);
                at.map_or_else(|| text(value), moment)
            }
            Kind::Findings => findings(value),
            Kind::Flag => if value.as_bool() == Some(true) {
                "*"
            } else {
                ""
            }
            .to_owned(),
        };
        Some(Cell::plain(super::style::printable(&shown)))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A value as words: a text as it is, a stored one by its size, a list with commas.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(_) => match serde_json::from_value::<Body>(value.clone()) {
            Ok(Body::Stored { object, bytes }) => format!("({} bytes, {object})", count(bytes)),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Each finding as `2 card (input, redact)`.
fn findings(value: &Value) -> String {
    let words = |found: &Value| {
        let part = |at: &str| found.get(at).map(text).unwrap_or_default();
        format!(
            "{} {} ({}, {})",
            part("count"),
            part("class"),
            part("direction"),
            part("action")
        )
    };
    let all = value.as_array().into_iter().flatten().map(words);
    all.collect::<Vec<_>>().join(", ")
}

/// The rows of a list's answer.
pub(crate) fn rows(answer: &Value) -> &[Value] {
    let list = ["/items", "/data"].iter().find_map(|at| answer.pointer(at));
    let list = list.unwrap_or(answer).as_array();
    list.map_or(&[], Vec::as_slice)
}

/// The fields that some row has something in: a wide table shows what there is. The first `always`
/// ones stay.
pub(crate) fn told(fields: &[Field], always: usize, rows: &[Value]) -> Vec<Field> {
    let says = |field: &Field| {
        rows.iter().any(|row| {
            let value = row.pointer(field.at).filter(|value| !is_empty(value));
            value.is_some_and(|value| value.as_u64() != Some(0) && value.as_bool() != Some(false))
        })
    };
    let kept = fields.iter().enumerate();
    kept.filter(|(index, field)| *index < always || says(field))
        .map(|(_, field)| *field)
        .collect()
}

/// Rows as a table.
pub(crate) fn table(fields: &[Field], rows: &[Value], style: Style) -> String {
    let mut table = Table::new(fields.iter().map(|field| (field.title, field.align())));
    for row in rows {
        let cell = |field: &Field| field.cell(row, false).unwrap_or_else(|| Cell::plain(""));
        table.row(fields.iter().map(cell).collect());
    }
    table.render(style)
}

/// One thing as a sheet; what it does not have is left out.
pub(crate) fn sheet(fields: &[Field], item: &Value, style: Style) -> String {
    let mut sheet = Sheet::default();
    for field in fields {
        if let Some(cell) = field.cell(item, true) {
            sheet.line(field.title, cell);
        }
    }
    sheet.render(style)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: &[Field] = &[
        Field::new("ID", "/id", Kind::Text(8)),
        Field::new("STATUS", "/status", Kind::Status),
        Field::new("TOKENS", "/cost/tokens", Kind::Count),
        Field::new("COST", "/cost/cost_usd_micros", Kind::Usd),
        Field::new("TIME", "/cost/time_ms", Kind::Millis),
        Field::new("STARTED", "/started_at", Kind::Moment),
        Field::new("INPUT", "/input", Kind::Text(12)),
        Field::new("NEWEST", "/newest", Kind::Flag),
    ];

    #[test]
    fn findings_are_words() {
        let found = json!([
            { "direction": "input", "class": "card", "action": "redact", "count": 2 },
            { "direction": "output", "class": "secret", "action": "mark", "count": 1 },
        ]);
        let expected = "2 card (input, redact), 1 secret (output, mark)";
        assert_eq!(findings(&found), expected);
    }

    fn row() -> Value {
        json!({
            "id": "a", "status": "completed", "started_at": "2026-11-22T13:16:17.328Z",
            "cost": { "tokens": 1230, "cost_usd_micros": 1200, "time_ms": 5200 },
            "input": "what is\n12*7 please?", "newest": true, "later_field": {}
        })
    }

    #[test]
    fn fields_are_shown_by_their_unit() {
        let answer = json!({ "items": [row(), { "id": "b", "status": null }] });
        let expected = "\
ID  STATUS     TOKENS     COST   TIME  STARTED              INPUT         NEWEST
a   completed   1,230  $0.0012  5.2 s  2026-11-22 13:16:17  what is 12*…  *
b
";
        assert_eq!(table(FIELDS, rows(&answer), Style::PLAIN), expected);
    }

    #[test]
    fn a_sheet_is_whole_and_leaves_out_what_is_not_there() {
        let mut row = row();
        row["cost"] = Value::Null;
        row["input"] = json!({ "object": "sha256:ab", "bytes": 70000 });
        let expected = "\
ID       a
STATUS   completed
STARTED  2026-11-22 13:16:17
INPUT    (70,000 bytes, sha256:ab)
NEWEST   *
";
        assert_eq!(sheet(FIELDS, &row, Style::PLAIN), expected);
    }

    #[test]
    fn a_column_that_says_nothing_is_left_out() {
        let rows = [
            json!({ "cost": { "tokens": 0, "time_ms": 7 }, "newest": false }),
            json!({ "cost": { "tokens": 0 } }),
        ];
        let titles: Vec<_> = told(FIELDS, 1, &rows)
            .iter()
            .map(|field| field.title)
            .collect();
        assert_eq!(titles, ["ID", "TIME"]);
    }

    #[test]
    fn a_list_is_found_in_both_shapes() {
        assert_eq!(rows(&json!({ "object": "list", "data": [1] })).len(), 1);
        assert_eq!(rows(&json!([1, 2])).len(), 2);
        assert_eq!(rows(&json!({})).len(), 0);
    }
}
