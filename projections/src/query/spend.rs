//! What was spent: sums by any of day, user, agent and model.

use std::fmt;
use std::str::FromStr;

use nexus_events::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{Date, Month};

use super::{InvalidCursor, PageRequest, QueryError, unsigned};
use crate::{Projections, text};

/// A day in UTC: `2026-11-22`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Day(Date);

/// A text that is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day is written as 2026-11-22")]
pub struct InvalidDay;

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(date) = self;
        let month = u8::from(date.month());
        write!(f, "{:04}-{month:02}-{:02}", date.year(), date.day())
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits);
            let digits = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|part| part.parse::<u16>().ok())
        };
        let parsed = number(4).zip(number(2)).zip(number(2));
        let ((year, month), day) = parsed.ok_or(InvalidDay)?;
        if parts.next().is_some() {
            return Err(InvalidDay);
        }
        let month = u8::try_from(month)
            .ok()
            .and_then(|m| Month::try_from(m).ok());
        let (month, day) = month.zip(u8::try_from(day).ok()).ok_or(InvalidDay)?;
        // Postgres and RFC 3339 both know the years from 1.
        Date::from_calendar_date(i32::from(year).max(1), month, day)
            .map(Self)
            .map_err(|_| InvalidDay)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = InvalidDay;

    fn try_from(text: String) -> Result<Self, InvalidDay> {
        text.parse()
    }
}

/// What is summed up apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendBy {
    /// Each day.
    pub day: bool,
    /// Each user.
    pub user: bool,
    /// Each agent.
    pub agent: bool,
    /// Each model.
    pub model: bool,
}

/// What is looked at, and which page of it; an absent field does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendFilter {
    /// On this day or later.
    pub from: Option<Day>,
    /// On this day or before.
    pub to: Option<Day>,
    /// By this user.
    pub user: Option<String>,
    /// By this agent.
    pub agent: Option<String>,
    /// With this model.
    pub model: Option<String>,
    /// What is summed up apart.
    pub by: SpendBy,
    /// At most this many rows; as in [`PageRequest`].
    pub limit: Option<u32>,
    /// Where the page before this one ended.
    pub after: Option<SpendCursor>,
}

/// A place in such a list: the row's keys as a JSON list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendCursor([String; 4]);

impl fmt::Display for SpendCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::json(&self.0).to_string())
    }
}

impl FromStr for SpendCursor {
    type Err = InvalidCursor;

    fn from_str(cursor: &str) -> Result<Self, InvalidCursor> {
        let keys: [String; 4] = serde_json::from_str(cursor).map_err(|_| InvalidCursor)?;
        if keys.iter().any(|key| key.contains('\0')) {
            return Err(InvalidCursor);
        }
        Ok(Self(keys))
    }
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpendSums {
    /// Calls of models, and whatever was held from outside.
    pub calls: u64,
    /// Tools that were called.
    pub tool_calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// Micro-dollars.
    pub cost_usd_micros: u64,
    /// Milliseconds of model calls and tools.
    pub time_ms: u64,
    /// Calls that spent more than was held for them.
    pub overruns: u64,
    /// Calls that were settled after their reservation had expired.
    pub late: u64,
}

/// What was spent together; a key that was not asked for is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpendRow {
    /// The day, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent; empty for what was held from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model; empty for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub sums: SpendSums,
}

/// A page of sums, and the sum of all pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpendPage {
    /// The rows, in the order of their keys.
    pub items: Vec<SpendRow>,
    /// Cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The sum of all pages.
    pub total: SpendSums,
}

struct Record {
    day: Option<Date>,
    user_id: Option<String>,
    agent: Option<String>,
    model: Option<String>,
    calls: i64,
    tool_calls: i64,
    tokens: i64,
    cost_usd_micros: i64,
    time_ms: i64,
    overruns: i64,
    late: i64,
}

impl From<Record> for SpendRow {
    fn from(row: Record) -> Self {
        Self {
            day: row.day.map(Day),
            user: row.user_id,
            agent: row.agent,
            model: row.model,
            sums: SpendSums {
                calls: unsigned(row.calls),
                tool_calls: unsigned(row.tool_calls),
                tokens: unsigned(row.tokens),
                cost_usd_micros: unsigned(row.cost_usd_micros),
                time_ms: unsigned(row.time_ms),
                overruns: unsigned(row.overruns),
                late: unsigned(row.late),
            },
        }
    }
}

impl SpendRow {
    fn cursor(&self) -> SpendCursor {
        let key = |key: &Option<String>| key.clone().unwrap_or_default();
        let day = self.day.map(String::from).unwrap_or_default();
        SpendCursor([day, key(&self.user), key(&self.agent), key(&self.model)])
    }
}

impl Projections {
    /// What was spent, summed up as asked.
    ///
    /// # Errors
    /// [`QueryError`]: the database is away.
    pub async fn spend(
        &self,
        tenant: &Tenant,
        filter: &SpendFilter,
    ) -> Result<SpendPage, QueryError> {
        let size = PageRequest {
            limit: filter.limit,
            cursor: None,
        };
        let after = filter.after.as_ref();
        let page = self
            .spend_rows(tenant, filter, filter.by, after, size.fetch())
            .await?;
        let (more, mut items) = (page.len() > size.rows(), page);
        items.truncate(size.rows());
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|last| last.cursor().to_string());
        let nothing_apart = SpendBy::default();
        let total = self
            .spend_rows(tenant, filter, nothing_apart, None, 1)
            .await?;
        Ok(SpendPage {
            items,
            next_cursor,
            total: total.first().map(|row| row.sums).unwrap_or_default(),
        })
    }

    async fn spend_rows(
        &self,
        tenant: &Tenant,
        filter: &SpendFilter,
        by: SpendBy,
        after: Option<&SpendCursor>,
        fetch: i64,
    ) -> Result<Vec<SpendRow>, QueryError> {
        let name = |name: &Option<String>| name.as_deref().map(text::name);
        let rows = sqlx::query_as!(
            Record,
            r#"SELECT day, user_id, agent, model, calls AS "calls!", tool_calls AS "tool_calls!",
                      tokens AS "tokens!", cost_usd_micros AS "cost_usd_micros!",
                      time_ms AS "time_ms!", overruns AS "overruns!", late AS "late!"
               FROM (
                   SELECT CASE WHEN $7 THEN day END AS day,
                       CASE WHEN $8 THEN user_id END AS user_id,
                       CASE WHEN $9 THEN agent END AS agent,
                       CASE WHEN $10 THEN model END AS model,
                       least(sum(calls), 9007199254740991)::int8 AS calls,
                       least(sum(tool_calls), 9007199254740991)::int8 AS tool_calls,
                       least(sum(tokens), 9007199254740991)::int8 AS tokens,
                       least(sum(cost_usd_micros), 9007199254740991)::int8 AS cost_usd_micros,
                       least(sum(time_ms), 9007199254740991)::int8 AS time_ms,
                       least(sum(overruns), 9007199254740991)::int8 AS overruns,
                       least(sum(late), 9007199254740991)::int8 AS late
                   FROM spend
                   WHERE tenant = $1
                     AND ($2::date IS NULL OR day >= $2)
                     AND ($3::date IS NULL OR day <= $3)
                     AND ($4::text IS NULL OR user_id = $4)
                     AND ($5::text IS NULL OR agent = $5)
                     AND ($6::text IS NULL OR model = $6)
                   GROUP BY 1, 2, 3, 4
               ) sums
               WHERE $11::text[] IS NULL
                  OR ARRAY[coalesce(to_char(day, 'YYYY-MM-DD'), ''), coalesce(user_id, ''),
                       coalesce(agent, ''), coalesce(model, '')] > $11
               ORDER BY ARRAY[coalesce(to_char(day, 'YYYY-MM-DD'), ''), coalesce(user_id, ''),
                       coalesce(agent, ''), coalesce(model, '')]
               LIMIT $12"#,
            tenant.as_str(),
            filter.from.map(|Day(day)| day),
            filter.to.map(|Day(day)| day),
            name(&filter.user),
            name(&filter.agent),
            name(&filter.model),
            by.day,
            by.user,
            by.agent,
            by.model,
            after.map(|SpendCursor(keys)| keys.as_slice()) as _,
            fetch,
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(SpendRow::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_what_it_wrote_and_nothing_else() {
        let day: Result<Day, _> = "2026-11-22".parse();
        assert_eq!(day.map(String::from), Ok("2026-11-22".to_owned()));
        for bad in [
            "",
            "2026",
            "2026-11",
            "2026-11-31",
            "2026-13-01",
            "26-11-22",
            "2026-11-22T",
            "2026-1-1",
            "2026-11-22-1",
            "+026-11-22",
        ] {
            assert_eq!(bad.parse::<Day>(), Err(InvalidDay), "{bad}");
        }
    }

    #[test]
    fn a_cursor_keeps_every_name_apart() {
        let cursor = SpendCursor(["", "a,b", "\"x\"", "m"].map(str::to_owned));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "[]", "[\"a\"]", "{}", "[\"a\\u0000\",\"\",\"\",\"\"]"] {
            assert_eq!(bad.parse::<SpendCursor>(), Err(InvalidCursor), "{bad}");
        }
    }
}
