//! A response from the log as it is now.

use nexus_bus::process::load_latest;
use nexus_events::session::Session;
use nexus_events::{AggregateId, RunId, Tenant};

use super::object::{ResponseObject, Shell};
use super::request::Previous;
use super::tale::Tale;
use crate::app::App;
use crate::http::ApiError;
use crate::known::Known;
use crate::openai::follow::happened;
use crate::runs::view::from_log;
use crate::stream::history::{begin_of, page, subject_of};

/// What is recorded of a run until now.
pub(crate) async fn tale(app: &App, tenant: &Tenant, run: RunId) -> Result<Tale, ApiError> {
    let mut tale = Tale::of(run, false);
    let subject = subject_of(tenant, run);
    let mut next = Some(begin_of(app, tenant, run).await);
    while let Some(from) = next {
        let page = app.in_time(page(app.bus(), &subject, from)).await?;
        next = page.next;
        for stored in page.commits {
            for happened in happened(app, tenant, stored.seq, &stored.body).await? {
                // Without fragments nothing can differ from the record.
                let _ = tale.happened(&happened);
            }
        }
        tale.told();
    }
    Ok(tale)
}

/// The response of a run.
pub(crate) async fn response(
    app: &App,
    tenant: &Tenant,
    run: RunId,
) -> Result<ResponseObject, ApiError> {
    if let Some(response) = tale(app, tenant, run).await?.response() {
        return Ok(response);
    }
    match app.known().get(tenant, run) {
        Some(Known::Queued(_)) => Ok(Shell::default().begun(run, "queued")),
        _ => Err(ApiError::not_found("response of run", run)),
    }
}

/// What is needed to go on with a response: the newest of its session. `again`: the run that a key of
/// the request names; where it has begun, it went on with that response when it was the newest.
pub(crate) async fn previous(
    app: &App,
    tenant: &Tenant,
    run: RunId,
    again: Option<RunId>,
) -> Result<Previous, ApiError> {
    const FIELD: &str = "previous_response_id";
    let (Some(row), _) = from_log(app, tenant, run).await? else {
        let detail = "there is no such response";
        return Err(
            nexus_events::Problem::new(400, "previous_response_not_found", detail)
                .at(FIELD)
                .into(),
        );
    };
    let id = AggregateId::from(row.session_id);
    let session = app
        .in_time(load_latest::<Session>(app.store(), tenant, &id, 0))
        .await?;
    let newest = (session.state.newest()).unwrap_or_else(|| RunId::new(row.session_id.uuid()));
    let has_begun = match again {
        Some(again) if newest != run => from_log(app, tenant, again).await?.0.is_some(),
        _ => false,
    };
    if newest != run && !has_begun {
        let detail = "another response goes on with it already; go on with the newest one, or bring \
                      the conversation as `input`";
        return Err(
            nexus_events::Problem::new(409, "response_superseded", detail)
                .at(FIELD)
                .into(),
        );
    }
    let calls = tale(app, tenant, run).await?.calls().to_vec();
    Ok(Previous {
        session: row.session_id,
        names: (calls.into_iter())
            .map(|call| (call.id, call.name))
            .collect(),
    })
}
