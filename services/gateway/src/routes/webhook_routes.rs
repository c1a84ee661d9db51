//! Routes of webhooks: a part of the list of all.

use nexus_events::webhook::WebhookSpec;

use super::control::Reason;
use super::route::{Route, delete, get, post, put};
use super::webhooks;
use crate::identity::Access;

/// See the module.
pub(super) fn all() -> Vec<Route> {
    vec![
        post(
            "/v1/webhooks",
            webhooks::create,
            "createWebhook",
            "Deliver events to a receiver, signed and in order",
        )
        .demands(Access::Manage)
        .body::<webhooks::NewWebhook>()
        .answer::<webhooks::WebhookMade>(201, "The webhook; its secret is shown once")
        .problems(&[413, 415, 422, 503]),
        get(
            "/v1/webhooks",
            webhooks::list,
            "listWebhooks",
            "Webhooks, and how far each has come",
        )
        .demands(Access::Manage)
        .answer::<webhooks::WebhookList>(200, "All of them")
        .problems(&[503]),
        get(
            "/v1/webhooks/{webhook_id}",
            webhooks::get,
            "getWebhook",
            "One webhook, and how far it has come",
        )
        .demands(Access::Manage)
        .answer::<webhooks::WebhookView>(200, "The webhook")
        .problems(&[404, 503]),
        put(
            "/v1/webhooks/{webhook_id}",
            webhooks::update,
            "updateWebhook",
            "Deliver somewhere else, or other events, from where it stands",
        )
        .demands(Access::Manage)
        .body::<WebhookSpec>()
        .answer::<webhooks::WebhookDone>(200, "It does, or will when a role has answered")
        .problems(&[404, 413, 415, 422, 503]),
        delete(
            "/v1/webhooks/{webhook_id}",
            webhooks::delete,
            "deleteWebhook",
            "Be done with a webhook",
        )
        .demands(Access::Manage)
        .answer::<webhooks::WebhookDone>(200, "It is no more")
        .problems(&[404, 503]),
        post(
            "/v1/webhooks/{webhook_id}/rotate",
            webhooks::rotate,
            "rotateWebhook",
            "Give a webhook another secret",
        )
        .demands(Access::Manage)
        .maybe_body::<webhooks::NewSecret>()
        .answer::<webhooks::WebhookMade>(200, "The secret from now on, shown once")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/webhooks/{webhook_id}/enable",
            webhooks::enable,
            "enableWebhook",
            "Go on delivering where it stopped",
        )
        .demands(Access::Manage)
        .answer::<webhooks::WebhookDone>(200, "It goes on")
        .problems(&[404, 503]),
        post(
            "/v1/webhooks/{webhook_id}/disable",
            webhooks::disable,
            "disableWebhook",
            "Deliver nothing until it is enabled; nothing is forgotten",
        )
        .demands(Access::Manage)
        .maybe_body::<Reason>()
        .answer::<webhooks::WebhookDone>(200, "It stops")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/webhooks/{webhook_id}/redeliver",
            webhooks::redeliver,
            "redeliverWebhook",
            "Deliver again from a sequence on, or try at once what waits",
        )
        .demands(Access::Manage)
        .maybe_body::<webhooks::Redelivery>()
        .answer::<webhooks::WebhookDone>(200, "It begins")
        .problems(&[404, 413, 415, 422, 503]),
        post(
            "/v1/webhooks/{webhook_id}/test",
            webhooks::test,
            "testWebhook",
            "Deliver a message of no meaning, once, and say what came of it",
        )
        .demands(Access::Manage)
        .answer::<webhooks::TestDone>(200, "What came of it")
        .answer::<webhooks::TestDone>(202, "Accepted; nobody has answered yet")
        .problems(&[404, 503]),
        get(
            "/v1/webhooks/{webhook_id}/deliveries",
            webhooks::deliveries,
            "listDeliveries",
            "The last tries of a webhook, and what came of each",
        )
        .demands(Access::Manage)
        .answer::<webhooks::DeliveryList>(200, "The last 50, the newest first")
        .problems(&[404, 503]),
    ]
}
