//! API keys: looked up on the log, as it was half a second ago at most, so that a revoked key is
//! refused within that time by every gateway.

use std::time::Duration;

use nexus_events::keys::{ApiKey, KeyCreated, Keys};
use nexus_events::{Actor, AggregateId};

use super::authenticate::invalid;
use super::{Caller, CallerKey};
use crate::app::App;
use crate::http::ApiError;

const AT_MOST_OLD: Duration = Duration::from_millis(500);
/// A key that is not known may be new. Whoever guesses makes a gateway look this often at most.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Whoever has this key.
pub(super) async fn caller(app: &App, shown: &str) -> Result<Caller, ApiError> {
    let key = ApiKey::parse(shown).ok_or_else(invalid)?;
    let known = match find(app, &key, AT_MOST_OLD).await? {
        Some(known) => Some(known),
        None => find(app, &key, LOOK_AGAIN).await?,
    };
    let created = known.ok_or_else(invalid)?;
    let used = CallerKey {
        id: key.id,
        requests_per_minute: created.requests_per_minute,
    };
    Ok(Caller {
        key: Some(used),
        actor: Actor {
            user: created.user,
            roles: created.roles,
            groups: created.groups,
            key: Some(key.id),
            source: None,
        },
        tenant: key.tenant,
        is_local: false,
    })
}

async fn find(
    app: &App,
    key: &ApiKey,
    at_most_old: Duration,
) -> Result<Option<KeyCreated>, ApiError> {
    let keys = (app.store()).peek::<Keys>(&key.tenant, &AggregateId::ONLY, at_most_old);
    let keys = app.in_time(keys).await?;
    let known = keys.state.keys.get(&key.id);
    let known = known.filter(|known| known.admits(&key.hash(), app.bus().now()));
    Ok(known.map(|known| known.created.clone()))
}
