//! Every route, in one list: the router and the OpenAPI document are both made from it, so that
//! neither can have what the other lacks. A file for each part of the interface.

mod budgets;
mod policies;
mod runs;
mod system;
mod tongues;
mod tools;
mod webhooks;

use super::route::Route;

/// Every route.
pub(crate) fn all() -> Vec<Route> {
    let parts = [
        runs::routes(),
        budgets::routes(),
        policies::routes(),
        tools::routes(),
        tongues::routes(),
        webhooks::routes(),
        system::routes(),
    ];
    parts.into_iter().flatten().collect()
}
