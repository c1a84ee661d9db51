//! Who calls, for which tenant, and what they may do. It comes from the credential alone: an API key
//! ([`keys`]), a token of an OpenID provider ([`tokens`]), or the installation's root key. Where the
//! gateway listens on the loopback nobody needs one ([`loopback`]).

mod access;
mod authenticate;
mod guard;
mod keys;
mod loopback;
pub(crate) mod socket;
mod tokens;

pub(crate) use access::{Access, authorize};
pub(crate) use authenticate::Identity;
pub(crate) use loopback::{GROUPS_HEADER, ROLES_HEADER, TENANT_HEADER, USER_HEADER};
pub use tokens::IssuerConfig;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use nexus_events::{Actor, KeyId, Tenant};

use crate::app::App;
use crate::http::ApiError;

/// Who calls, and for which tenant.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: Tenant,
    pub(crate) actor: Actor,
    /// Whoever is at this machine's loopback may do everything, whatever roles they name.
    pub(crate) is_local: bool,
    /// The API key that was shown.
    pub(crate) key: Option<CallerKey>,
}

/// An API key that was shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerKey {
    pub(crate) id: KeyId,
    /// Its own limit.
    pub(crate) requests_per_minute: Option<u32>,
}

/// Of a request that [`authorize`] let pass.
impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::new(401, "credentials_required", "nobody is known to call"))
    }
}
