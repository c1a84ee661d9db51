//! Dead letters: commands that could not be handled, whole and with the reason. They are kept as
//! they came, body and headers, so that redriving one is publishing it again; a JSON wrapper would
//! make a second format of every command.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use nexus_events::envelope::CE_ID;
use nexus_events::{CommandEnvelope, Tenant, Timestamp, subject};
use serde::Serialize;
use serde_json::{Value, json};

use crate::connect::Bus;
use crate::js::{self, ApiError};
use crate::publish::{PublishError, set_header};
use crate::read::{self, ReadError, Stored};
use crate::settle::Taken;
use crate::topology::DEAD_LETTERS;

const SUBJECT: &str = "nexus-dlq-subject";
const REASON: &str = "nexus-dlq-reason";
const ATTEMPTS: &str = "nexus-dlq-attempts";
const SEQUENCE: &str = "nexus-dlq-sequence";
const TRUNCATED: &str = "nexus-dlq-truncated";
const PREFIX: &str = "nexus-dlq-";

const MOST_REASON_BYTES: usize = 2048;
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 4096;
/// Left free in the largest message for headers.
const HEADER_ROOM_BYTES: usize = 512 * 1024;

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Its sequence among the dead letters: its name.
    pub seq: u64,
    /// Whose it is, as the subject says.
    pub tenant: String,
    /// The role that gave it up.
    pub role: String,
    /// Where the command was published.
    pub subject: String,
    /// The command's id, where it had one.
    pub command_id: Option<String>,
    /// Why it was given up.
    pub reason: String,
    /// How often it was delivered.
    pub attempts: u64,
    /// Its sequence in the command stream.
    pub command_seq: u64,
    /// When it was given up.
    pub time: Timestamp,
    /// The length of the body that it had, where that was cut; such a letter cannot be redriven.
    pub truncated_from_bytes: Option<u64>,
    /// The command's own headers.
    pub headers: BTreeMap<String, String>,
    /// The command's body.
    #[serde(serialize_with = "lossy")]
    pub body: Bytes,
}

impl DeadLetter {
    /// What happened and what can be done, for a person.
    pub fn explain(&self) -> String {
        let Self {
            seq,
            subject,
            reason,
            attempts,
            time,
            ..
        } = self;
        let id = self.command_id.as_deref().unwrap_or("without id");
        let advice = if self.truncated_from_bytes.is_some() {
            "Its body was cut, so it cannot be redriven: publish the command again."
        } else if *attempts <= 1 {
            "It cannot be handled as it is; redrive it after the cause is removed, or discard it."
        } else {
            "It failed again and again; redrive it once what it needs works, or discard it."
        };
        format!(
            "Dead letter {seq}: command {id} on {subject} was laid aside at {time} after \
             {attempts} delivery(s). Reason: {reason}. {advice}"
        )
    }
}

fn lossy<S: serde::Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

/// An operation on dead letters that failed.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// There is no such letter, or it belongs to another tenant.
    #[error("dead letter {0} does not exist")]
    NotFound(u64),
    /// Its body was cut.
    #[error("dead letter {0} was too large to be kept whole and cannot be redriven")]
    Truncated(u64),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The server says no.
    #[error("the dead letters cannot be {action}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// What it says.
        #[source]
        source: ApiError,
    },
}

/// The letters of a tenant, or of all, newest first: at most `limit` (100 at most), older than
/// sequence `before`.
///
/// # Errors
/// [`DlqError`].
pub async fn list(
    bus: &Bus,
    tenant: Option<&Tenant>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<DeadLetter>, DlqError> {
    let limit = limit.clamp(1, 100);
    let (first, last) = bounds(bus).await?;
    let filter = filter(tenant);
    let mut found: Vec<DeadLetter> = Vec::new();
    let mut end = before.unwrap_or(u64::MAX).min(last.saturating_add(1));
    let mut width = 2 * limit as u64;
    // Streams are read forwards only: windows that widen, from the end backwards.
    while found.len() < limit && end > first {
        let start = end.saturating_sub(width).max(first);
        let mut window = window(bus, &filter, start, end).await?;
        window.reverse();
        found.extend(window);
        end = start;
        width = width.saturating_mul(4);
    }
    found.truncate(limit);
    Ok(found)
}

/// One letter; of another tenant none.
///
/// # Errors
/// [`DlqError`].
pub async fn get(bus: &Bus, tenant: Option<&Tenant>, seq: u64) -> Result<DeadLetter, DlqError> {
    let stored = read::at(bus, DEAD_LETTERS, seq).await?;
    let letter = stored
        .and_then(read_letter)
        .ok_or(DlqError::NotFound(seq))?;
    let visible = tenant.is_none_or(|tenant| tenant.as_str() == letter.tenant);
    if visible {
        Ok(letter)
    } else {
        Err(DlqError::NotFound(seq))
    }
}

/// Publishes the command again where it came from, and deletes the letter. The command keeps its
/// id, so that whatever it already did is found.
///
/// # Errors
/// [`DlqError`]. When the letter was published and could not be deleted it may be redriven again:
/// the command then runs twice under one id.
pub async fn redrive(bus: &Bus, letter: &DeadLetter) -> Result<(), DlqError> {
    if letter.truncated_from_bytes.is_some() {
        return Err(DlqError::Truncated(letter.seq));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &letter.headers {
        headers.insert(name.as_str(), value.as_str());
    }
    let stamp = letter.time.as_millis();
    headers.insert("Nats-Msg-Id", format!("redrive/{}/{stamp}", letter.seq));
    js::publish(bus, &letter.subject, headers, letter.body.clone())
        .await
        .map_err(|given_up| PublishError::from_api(&letter.subject, letter.body.len(), given_up))?;
    discard(bus, letter.seq).await
}

/// What came of redriving all letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Published again.
    pub redriven: u64,
    /// Left where they are, as their bodies were cut.
    pub left: u64,
}

/// Redrives every letter that there is now, oldest first.
///
/// # Errors
/// [`DlqError`]; those before the failure are redriven.
pub async fn redrive_all(bus: &Bus, tenant: Option<&Tenant>) -> Result<Redriven, DlqError> {
    let (first, last) = bounds(bus).await?;
    let filter = filter(tenant);
    let mut result = Redriven::default();
    let mut from = first;
    // What dies again meanwhile gets a later sequence and is not taken a second time.
    while from <= last {
        let page = read::read_from(bus, DEAD_LETTERS, &filter, from, read::PAGE).await?;
        let Some(next) = page.messages.last().map(|stored| stored.seq + 1) else {
            break;
        };
        let letters = page
            .messages
            .into_iter()
            .filter(|stored| stored.seq <= last);
        for letter in letters.filter_map(read_letter) {
            match redrive(bus, &letter).await {
                Ok(()) => result.redriven += 1,
                Err(DlqError::Truncated(_)) => result.left += 1,
                Err(error) => return Err(error),
            }
        }
        from = next;
    }
    Ok(result)
}

/// Deletes a letter.
///
/// # Errors
/// [`DlqError`]; a letter that is gone already is none.
pub async fn discard(bus: &Bus, seq: u64) -> Result<(), DlqError> {
    let verb = format!("STREAM.MSG.DELETE.{DEAD_LETTERS}");
    match js::api::<Value>(bus, &verb, &json!({ "seq": seq, "no_erase": true })).await {
        Ok(_) => Ok(()),
        Err(error) if error.err_code() == Some(NO_SUCH_SEQUENCE) => Ok(()),
        Err(source) => Err(DlqError::Api {
            action: "deleted",
            source,
        }),
    }
}

/// "Stream message delete failed": the sequence is not there.
const NO_SUCH_SEQUENCE: u16 = 10057;

/// How many letters there are, by subject (`nexus.<tenant>.dlq.<role>`).
///
/// # Errors
/// [`DlqError`].
pub async fn counts(bus: &Bus, tenant: Option<&Tenant>) -> Result<BTreeMap<String, u64>, DlqError> {
    counts_of(bus, DEAD_LETTERS, &filter(tenant)).await
}

/// How many messages a stream has on each subject that fits: for filters that few subjects fit.
///
/// # Errors
/// [`DlqError`].
pub async fn counts_of(
    bus: &Bus,
    stream: &str,
    filter: &str,
) -> Result<BTreeMap<String, u64>, DlqError> {
    let info = info(bus, stream, &json!({ "subjects_filter": filter })).await?;
    let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
    let count = |(subject, n): (&String, &Value)| Some((subject.clone(), n.as_u64()?));
    Ok(subjects.into_iter().flatten().filter_map(count).collect())
}

fn filter(tenant: Option<&Tenant>) -> String {
    match tenant {
        Some(tenant) => subject::dead_letters_of(tenant),
        None => nexus_events::subject::ALL_DEAD_LETTERS.to_owned(),
    }
}

async fn info(bus: &Bus, stream: &str, query: &Value) -> Result<Value, DlqError> {
    let asked = js::api(bus, &format!("STREAM.INFO.{stream}"), query).await;
    asked.map_err(|source| DlqError::Api {
        action: "counted",
        source,
    })
}

async fn bounds(bus: &Bus) -> Result<(u64, u64), DlqError> {
    let info = info(bus, DEAD_LETTERS, &Value::Null).await?;
    let number = |field: &str| info.pointer(field).and_then(Value::as_u64).unwrap_or(0);
    Ok((number("/state/first_seq").max(1), number("/state/last_seq")))
}

/// Letters with sequences from `start` up to but not including `end`.
async fn window(
    bus: &Bus,
    filter: &str,
    start: u64,
    end: u64,
) -> Result<Vec<DeadLetter>, DlqError> {
    let mut letters = Vec::new();
    let mut from = start;
    while from < end {
        let page = read::read_from(bus, DEAD_LETTERS, filter, from, read::PAGE).await?;
        let Some(next) = page.messages.last().map(|stored| stored.seq + 1) else {
            break;
        };
        let within = page.messages.into_iter().filter(|stored| stored.seq < end);
        letters.extend(within.filter_map(read_letter));
        from = next;
    }
    Ok(letters)
}

fn read_letter(stored: Stored) -> Option<DeadLetter> {
    let text = |name: &str| {
        stored
            .headers
            .get(name)
            .map(|value| value.as_str().to_owned())
    };
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    let mut tokens = stored.subject.split('.').skip(1);
    let (tenant, role) = (tokens.next()?.to_owned(), tokens.nth(1)?.to_owned());
    let own = |name: &str| !name.starts_with(PREFIX) && !is_servers(name);
    Some(DeadLetter {
        seq: stored.seq,
        tenant,
        role,
        subject: text(SUBJECT)?,
        command_id: text(CE_ID),
        reason: text(REASON).unwrap_or_default(),
        attempts: number(ATTEMPTS).unwrap_or(0),
        command_seq: number(SEQUENCE).unwrap_or(0),
        time: stored.time,
        truncated_from_bytes: number(TRUNCATED),
        headers: (stored.headers.iter())
            .filter(|(name, _)| own(name.as_ref()))
            .filter_map(|(name, values)| {
                Some((name.to_string(), values.first()?.as_str().to_owned()))
            })
            .collect(),
        body: stored.body,
    })
}

/// Headers that tell the server what to do are not the command's.
fn is_servers(name: &str) -> bool {
    name.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("nats-"))
}

/// A command to be laid aside.
pub(crate) struct NewLetter<'a> {
    pub(crate) taken: &'a Taken,
    pub(crate) envelope: Option<&'a CommandEnvelope>,
    pub(crate) role: &'static str,
    pub(crate) reason: &'a str,
}

/// Stores a dead letter; the same command gives the same one.
pub(crate) async fn store(bus: &Bus, letter: &NewLetter<'_>) -> Result<(), PublishError> {
    let taken = letter.taken;
    let original = taken.message.subject.as_str();
    let tenant = original.split('.').nth(1).unwrap_or("-");
    let subject = subject::dead_letter(tenant, letter.role);
    let mut headers = HeaderMap::new();
    copy_headers(taken.headers(), &mut headers);
    let (seq, stamp) = (taken.stream_seq, taken.published_at.as_millis());
    set_header(&mut headers, "Nats-Msg-Id", format!("dlq/{seq}/{stamp}"));
    set_header(&mut headers, SUBJECT, original.to_owned());
    set_header(&mut headers, REASON, one_line(letter.reason));
    set_header(&mut headers, ATTEMPTS, taken.delivered.to_string());
    set_header(&mut headers, SEQUENCE, seq.to_string());
    if let Some(envelope) = letter.envelope {
        set_header(&mut headers, CE_ID, envelope.id.to_string());
    }
    let whole = taken.message.payload.clone();
    let most = bus
        .client()
        .max_payload()
        .saturating_sub(HEADER_ROOM_BYTES)
        .max(1);
    let body = whole.slice(..whole.len().min(most));
    if body.len() < whole.len() {
        set_header(&mut headers, TRUNCATED, whole.len().to_string());
    }
    let bytes = body.len();
    let stored = js::publish(bus, &subject, headers, body).await;
    stored
        .map(drop)
        .map_err(|given_up: (ApiError, Duration)| PublishError::from_api(&subject, bytes, given_up))
}

fn copy_headers(from: &HeaderMap, into: &mut HeaderMap) {
    let fits = |value: &str| value.len() <= MOST_HEADER_BYTES && !value.contains(['\r', '\n']);
    let own = from.iter().filter(|(name, _)| !is_servers(name.as_ref()));
    for (name, values) in own.take(MOST_HEADERS) {
        if let Some(value) = values.first().filter(|value| fits(value.as_str())) {
            into.insert(name.clone(), value.clone());
        }
    }
}

fn one_line(reason: &str) -> String {
    let line: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let end = (0..=MOST_REASON_BYTES.min(line.len()))
        .rev()
        .find(|at| line.is_char_boundary(*at));
    line[..end.unwrap_or(0)].to_owned()
}
