//! What a route demands of whoever calls it, and the layer around each route that sees to it.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Caller;
use super::authenticate::shown_digest;
use crate::app::App;
use crate::http::ApiError;
use crate::limits;
use crate::source::Attempt;

/// What a route demands. Finer distinctions are policy's: it sees the roles at every step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing, not even to be known.
    Public,
    /// Reading what is the tenant's.
    Read,
    /// Starting and steering runs, answering what is asked of one's roles.
    Use,
    /// Reading the audit log.
    Audit,
    /// Changing limits, policies, tools and keys.
    Manage,
    /// What concerns all tenants: of whoever is at this machine or has the root key.
    Operate,
}

impl Access {
    /// In words, for documents and refusals.
    pub(crate) const fn demands(self) -> &'static str {
        match self {
            Self::Public => "nothing",
            Self::Read => "a credential",
            Self::Use => "a role other than viewer and auditor",
            Self::Audit => "the role admin or auditor",
            Self::Manage => "the role admin",
            Self::Operate => "the root key",
        }
    }

    /// Whether these roles are enough. `admin` may do everything; `auditor` and `viewer` read; every
    /// other role, and none, is a user's.
    fn admits(self, roles: &[String]) -> bool {
        let has = |role: &str| roles.iter().any(|known| known == role);
        let only_reads = |role: &String| role == "viewer" || role == "auditor";
        match self {
            Self::Operate => false,
            _ if has("admin") => true,
            Self::Public | Self::Read => true,
            Self::Use => roles.is_empty() || !roles.iter().all(only_reads),
            Self::Audit => has("auditor"),
            Self::Manage => false,
        }
    }
}

/// Lets a request pass to its route if whoever sent it may: the layer of every route.
pub(crate) async fn authorize(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    if access == Access::Public {
        return next.run(request).await;
    }
    let from = request.extensions().get::<Attempt>();
    let from = from.and_then(|attempt| attempt.source().address);
    let caller = match identify(&app, from, request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let caller = with_source(caller, &request);
    app.tenants().note(&caller.tenant);
    if !caller.is_local && !access.admits(&caller.actor.roles) {
        let detail = format!("this takes {}", access.demands());
        return ApiError::new(403, "forbidden", detail).into_response();
    }
    // Who operates the installation is not to be locked out by who uses it.
    if access == Access::Operate {
        request.extensions_mut().insert(caller);
        return next.run(request).await;
    }
    let admission = match app.limits().admit(&app, &caller).await {
        Ok(admission) => admission,
        Err(refused) => return refused.into_response(),
    };
    let mut response = match admission.refused {
        Some(refused) => refused.into_response(),
        None => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    limits::headers::write(response.headers_mut(), &admission.standings);
    response
}

/// Finds out who calls, unless too many credentials of that address were not good.
async fn identify(
    app: &App,
    from: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let Some(shown) = shown_digest(headers) else {
        return app.identity().caller(app, headers).await;
    };
    let now_ms = app.bus().now().as_millis();
    app.limits().refuse_guess(from, &shown, now_ms)?;
    let found = app.identity().caller(app, headers).await;
    match &found {
        Ok(_) => app.limits().looked_up(from, shown, true, now_ms),
        Err(refused) if refused.status() == 401 => {
            app.limits().looked_up(from, shown, false, now_ms);
        }
        Err(_) => {}
    }
    found
}

fn with_source(mut caller: Caller, request: &Request) -> Caller {
    if let Some(attempt) = request.extensions().get::<Attempt>() {
        caller.actor.source = Some(Box::new(attempt.source().clone()));
        attempt.is_by(&caller);
    }
    caller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_open_what_they_are_for() {
        let may = |access: Access, roles: &[&str]| {
            access.admits(
                &roles
                    .iter()
                    .map(|&role| role.to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        for (roles, read, uses, audit, manage) in [
            (&[][..], true, true, false, false),
            (&["user"], true, true, false, false),
            (&["finance"], true, true, false, false),
            (&["viewer"], true, false, false, false),
            (&["auditor"], true, false, true, false),
            (&["auditor", "user"], true, true, true, false),
            (&["viewer", "admin"], true, true, true, true),
        ] {
            assert_eq!(may(Access::Read, roles), read, "{roles:?}");
            assert_eq!(may(Access::Use, roles), uses, "{roles:?}");
            assert_eq!(may(Access::Audit, roles), audit, "{roles:?}");
            assert_eq!(may(Access::Manage, roles), manage, "{roles:?}");
        }
    }
}
