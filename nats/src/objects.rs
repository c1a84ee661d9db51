//! Bodies too large for an event, by the digest of their content. Chunks on subjects of the tenant
//! were chosen over the client's object store: that one names its subjects by bucket, so that no
//! account can be granted one tenant's alone, reads through a consumer made for each get, and a
//! second put of the same content removes the chunks that a reader may be reading.

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::{HeaderMap, HeaderValue};
use bytes::{Bytes, BytesMut};
use nexus_events::{Tenant, subject};
use sha2::{Digest, Sha256};

use crate::connect::Bus;
use crate::js::{self, WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_FLIGHT};
use crate::publish::{PublishError, set_header};
use crate::read::{self, ReadError};
use crate::topology::OBJECTS;

const SCHEME: &str = "sha256:";
const CHUNK_BYTES: usize = 512 * 1024;
const TOTAL: &str = "nexus-object-bytes";

/// An object that could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Larger than the configuration allows.
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not an address of this store.
    #[error("{0:?} is not an address of an object: sha256: and 64 hexadecimal digits")]
    Address(String),
    /// There is no such object, or it belongs to another tenant.
    #[error("object {0} does not exist")]
    NotFound(String),
    /// What is stored does not have the digest that it is stored under.
    #[error("object {0} is damaged")]
    Damaged(String),
    /// It could not be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Objects of all tenants, each seeing its own.
#[derive(Clone, Debug)]
pub struct Objects {
    bus: Bus,
    limit_bytes: u64,
}

impl Objects {
    /// A store that takes objects of up to `limit_bytes`.
    pub fn new(bus: Bus, limit_bytes: u64) -> Self {
        Self { bus, limit_bytes }
    }

    /// The largest body that it takes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Stores a body and gives its address, `sha256:<hex>`. Storing it again changes nothing.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn put(&self, tenant: &Tenant, body: Bytes) -> Result<String, ObjectError> {
        let bytes = body.len() as u64;
        if bytes > self.limit_bytes {
            return Err(ObjectError::TooLarge {
                bytes,
                limit: self.limit_bytes,
            });
        }
        let digest = hex::encode(Sha256::digest(&body));
        let mut rest = body;
        // In order and one after the other, so that the last chunk means that all are there.
        for index in 0u32.. {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
            self.put_chunk(&subject::object_chunk(tenant, &digest, index), chunk, bytes)
                .await?;
            if rest.is_empty() {
                break;
            }
        }
        Ok(format!("{SCHEME}{digest}"))
    }

    /// Reads a body and checks it against its address.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn get(&self, tenant: &Tenant, address: &str) -> Result<Bytes, ObjectError> {
        let digest = parse_address(address)?;
        let missing = || ObjectError::NotFound(address.to_owned());
        let all = subject::object_chunks(tenant, digest);
        let first = subject::object_chunk(tenant, digest, 0);
        let first = read::next(&self.bus, OBJECTS, &first, 1)
            .await?
            .ok_or_else(missing)?;
        let total = first
            .headers
            .get(TOTAL)
            .and_then(|n| n.as_str().parse::<u64>().ok());
        let total = total.ok_or_else(|| ObjectError::Damaged(address.to_owned()))?;
        if total > self.limit_bytes {
            return Err(ObjectError::TooLarge {
                bytes: total,
                limit: self.limit_bytes,
            });
        }
        let mut body = BytesMut::from(first.body);
        let mut from = first.seq + 1;
        while (body.len() as u64) < total {
            let page = read::read_from(&self.bus, OBJECTS, &all, from, read::PAGE).await?;
            // Not all there yet, or never: whoever put it has not finished.
            from = page.messages.last().ok_or_else(missing)?.seq + 1;
            page.messages
                .iter()
                .for_each(|chunk| body.extend_from_slice(&chunk.body));
        }
        let whole = hex::encode(Sha256::digest(&body)) == digest;
        if whole {
            Ok(body.freeze())
        } else {
            Err(ObjectError::Damaged(address.to_owned()))
        }
    }

    async fn put_chunk(&self, subject: &str, chunk: Bytes, total: u64) -> Result<(), ObjectError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(0u64));
        set_header(&mut headers, TOTAL, total.to_string());
        let bytes = chunk.len();
        match js::publish(&self.bus, subject, headers, chunk).await {
            Ok(_) => Ok(()),
            // It is there: the subject says what its content is.
            Err((error, _))
                if matches!(
                    error.err_code(),
                    Some(WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_IN_FLIGHT)
                ) =>
            {
                Ok(())
            }
            Err(given_up) => Err(PublishError::from_api(subject, bytes, given_up).into()),
        }
    }
}

fn parse_address(address: &str) -> Result<&str, ObjectError> {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    address
        .strip_prefix(SCHEME)
        .filter(|digest| digest.len() == 64 && digest.bytes().all(hex))
        .ok_or_else(|| ObjectError::Address(address.chars().take(80).collect()))
}
