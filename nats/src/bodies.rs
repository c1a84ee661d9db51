//! Texts of events in and out of the object store: short ones stay inline.

use bytes::Bytes;
use nexus_events::body::INLINE_LIMIT_BYTES;
use nexus_events::{Body, Tenant};

use crate::objects::{ObjectError, Objects};
use crate::worker::Failure;

impl Objects {
    /// A text as events hold it: inline, or stored and named by its digest.
    ///
    /// # Errors
    /// [`ObjectError`]: it is too large, or the bus is away.
    pub async fn offload(&self, tenant: &Tenant, text: String) -> Result<Body, ObjectError> {
        if text.len() <= INLINE_LIMIT_BYTES {
            return Ok(Body::Inline(text));
        }
        let bytes = text.len() as u64;
        let object = self.put(tenant, Bytes::from(text)).await?;
        Ok(Body::Stored { object, bytes })
    }

    /// The text of a body.
    ///
    /// # Errors
    /// [`ObjectError`]: it is not there, or not what it was, or the bus is away.
    pub async fn resolve(&self, tenant: &Tenant, body: &Body) -> Result<String, ObjectError> {
        match body {
            Body::Inline(text) => Ok(text.clone()),
            Body::Stored { object, .. } => {
                let bytes = self.get(tenant, object).await?;
                String::from_utf8(bytes.into()).map_err(|_| ObjectError::Damaged(object.clone()))
            }
        }
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::TooLarge { .. } => Self::Reject(nexus_events::DomainError::invalid(
                "input",
                error.to_string(),
            )),
            ObjectError::Publish(error) => error.into(),
            ObjectError::Read(error) => error.into(),
            ObjectError::Address(_) | ObjectError::NotFound(_) | ObjectError::Damaged(_) => {
                Self::dead(error.to_string())
            }
        }
    }
}
