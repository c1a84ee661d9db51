//! Query parameters and ids in paths.

use std::error::Error;
use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use nexus_events::Problem;
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::app::App;

/// Query parameters; unknown ones are refused where the type does not take them.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(refused(&error)),
        }
    }
}

/// What is wrong with which parameter.
fn refused(error: &QueryRejection) -> ApiError {
    type Located = serde_path_to_error::Error<serde::de::value::Error>;
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if let Some(located) = error.downcast_ref::<Located>() {
            let words = located.inner().to_string();
            let unknown = words
                .strip_prefix("unknown field `")
                .and_then(|rest| rest.split('`').next());
            let code = if unknown.is_some() {
                "unknown_field"
            } else {
                "invalid"
            };
            let path = located.path().to_string();
            let field = unknown.map_or(path, str::to_owned);
            return Problem::new(400, code, format!("parameter {field}: {words}"))
                .at(field)
                .into();
        }
        cause = error.source();
    }
    ApiError::new(400, "invalid", error.body_text())
}

/// Reads an id from a path.
pub(crate) fn path_id<T: FromStr<Err: std::fmt::Display>>(
    text: &str,
    field: &str,
) -> Result<T, ApiError> {
    text.parse().map_err(|error| {
        Problem::new(400, "invalid_id", format!("{error}"))
            .at(field)
            .into()
    })
}
