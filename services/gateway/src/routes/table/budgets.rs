//! Limits, what is held and what was spent.

use nexus_projections::query::{AlertRow, BudgetRow, BudgetStanding, ReservationRow, SpendPage};

use crate::identity::Access;
use crate::routes::control::Reason;
use crate::routes::route::{Route, get, post, put};
use crate::routes::{budgets, lists, reservations, spend};

pub(super) fn routes() -> Vec<Route> {
    vec![
        get(
            "/v1/budgets",
            budgets::list,
            "listBudgets",
            "Budgets that have limits",
        )
        .query::<budgets::ListQuery>()
        .page::<BudgetRow>("A page, by scope")
        .problems(&[503]),
        get(
            "/v1/budgets/alerts",
            budgets::alerts,
            "listBudgetAlerts",
            "Limits that are nearly used up, and calls that spent more than was held",
        )
        .query::<budgets::AlertQuery>()
        .page::<AlertRow>("A page, the newest first")
        .problems(&[503]),
        get(
            "/v1/budgets/{scope}",
            budgets::get_whole,
            "getTenantBudget",
            "The tenant's budget (scope `tenant`)",
        )
        .query::<lists::At>()
        .answer::<BudgetStanding>(200, "Limits, reserved, spent, remaining, and who holds it")
        .problems(&[503]),
        put(
            "/v1/budgets/{scope}",
            budgets::put_whole,
            "setTenantBudget",
            "Set the tenant's limits (scope `tenant`)",
        )
        .demands(Access::Manage)
        .body::<budgets::PutBudget>()
        .example(r#"{"window":"month","limits":{"cost_usd_micros":500000000}}"#)
        .answer::<BudgetStanding>(200, "As it stands now")
        .answer::<budgets::BudgetSet>(202, "Accepted; the read models have not come to it")
        .problems(&[413, 415, 422, 503]),
        get(
            "/v1/budgets/{scope}/{id}",
            budgets::get,
            "getBudget",
            "The budget of a user, key, agent, session or run",
        )
        .query::<lists::At>()
        .answer::<BudgetStanding>(200, "Limits, reserved, spent, remaining, and who holds it")
        .problems(&[503]),
        put(
            "/v1/budgets/{scope}/{id}",
            budgets::put,
            "setBudget",
            "Set limits of a user, key, agent, session or run",
        )
        .demands(Access::Manage)
        .body::<budgets::PutBudget>()
        .example(r#"{"window":"day","limits":{"tokens":2000000},"on_exhausted":"wait"}"#)
        .answer::<BudgetStanding>(200, "As it stands now")
        .answer::<budgets::BudgetSet>(202, "Accepted; the read models have not come to it")
        .problems(&[413, 415, 422, 503]),
        post(
            "/v1/reservations",
            reservations::hold,
            "holdBudget",
            "Hold budget for spending outside of runs",
        )
        .body::<reservations::NewHold>()
        .example(r#"{"amounts":{"tokens":500},"hold_seconds":60}"#)
        .answer::<reservations::Hold>(201, "It is held")
        .answer::<reservations::Hold>(202, "Accepted; `seq` is null, and it may not fit")
        .problems(&[409, 413, 415, 422, 429, 503]),
        get(
            "/v1/reservations",
            reservations::list,
            "listReservations",
            "What is held, and who waits for budget",
        )
        .query::<reservations::ListQuery>()
        .page::<ReservationRow>("A page, the oldest first; who waits, in the order of the lines")
        .problems(&[503]),
        get(
            "/v1/reservations/{reservation_id}",
            reservations::get,
            "getReservation",
            "One reservation, until it is settled",
        )
        .query::<lists::At>()
        .answer::<ReservationRow>(200, "The reservation")
        .problems(&[404, 503]),
        post(
            "/v1/reservations/{reservation_id}/grant",
            reservations::grant,
            "grantBudget",
            "Give one who waits what he waits for, by raising the limit",
        )
        .demands(Access::Manage)
        .maybe_body::<reservations::Grant>()
        .answer::<reservations::ReservationDone>(200, "It goes on")
        .answer::<reservations::ReservationDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/reservations/{reservation_id}/refuse",
            reservations::refuse,
            "refuseBudget",
            "Say no to one who waits: its run fails",
        )
        .demands(Access::Manage)
        .maybe_body::<Reason>()
        .answer::<reservations::ReservationDone>(200, "It is refused")
        .answer::<reservations::ReservationDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 413, 415, 503]),
        post(
            "/v1/reservations/{reservation_id}/release",
            reservations::release,
            "releaseBudget",
            "Say what was spent of a hold; the rest goes back",
        )
        .maybe_body::<reservations::Release>()
        .answer::<reservations::ReservationDone>(200, "It is accounted for")
        .answer::<reservations::ReservationDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 413, 415, 503]),
        get(
            "/v1/spend",
            spend::sums,
            "getSpend",
            "What was spent, by any of day, user, agent and model",
        )
        .query::<spend::SpendQuery>()
        .answer::<SpendPage>(200, "A page of sums, and the sum of all pages")
        .problems(&[503]),
    ]
}
