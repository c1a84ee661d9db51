//! Texts that events hold by reference. Readers get the text itself up to a limit, else the
//! reference. Only the fields that the core writes texts into are looked at: what a model or a
//! caller wrote may look like a reference and is none.

use nexus_bus::objects::Objects;
use nexus_events::{Body, Tenant};
use serde_json::value::{RawValue, Value};

use super::record::EventRecord;

/// How a reference begins in an event's data.
const REFERENCE: &str = r#"{"object":"sha256:"#;

/// The field of an event that holds a text.
fn text_field(type_name: &str) -> Option<&'static str> {
    match type_name {
        "nexus.run.started.v1" | "nexus.run.signalled.v1" => Some("input"),
        "nexus.run.llm-completed.v1" => Some("text"),
        "nexus.run.tool-completed.v1" => Some("output"),
        _ => None,
    }
}

/// Whether a text may have to be put in the place of a reference.
pub(crate) fn refers(record: &EventRecord) -> bool {
    text_field(&record.type_name).is_some() && record.data.get().contains(REFERENCE)
}

/// Puts texts in the place of references, as far as they are small enough and there.
pub(crate) async fn resolve(objects: &Objects, tenant: &Tenant, record: &mut EventRecord) {
    let Some(field) = text_field(&record.type_name) else {
        return;
    };
    if !refers(record) {
        return;
    }
    let Ok(mut data) = serde_json::from_str::<Value>(record.data.get()) else {
        return;
    };
    let Some(value) = data.get_mut(field) else {
        return;
    };
    let Ok(body) = serde_json::from_value::<Body>(value.clone()) else {
        return;
    };
    if let Body::Inline(text) = text_of(objects, tenant, body).await {
        *value = Value::String(text);
        if let Ok(data) = RawValue::from_string(data.to_string()) {
            record.data = data;
        }
    }
}

/// The text of a body, or the body as it was.
pub(crate) async fn text_of(objects: &Objects, tenant: &Tenant, body: Body) -> Body {
    let Body::Stored { object, .. } = &body else {
        return body;
    };
    match objects.get(tenant, object).await {
        Ok(bytes) => match String::from_utf8(bytes.into()) {
            Ok(text) => Body::Inline(text),
            Err(_) => body,
        },
        Err(error) => {
            tracing::debug!(%error, "a text is given by reference");
            body
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::aggregate::Event;
    use nexus_events::run::RunEvent;

    use super::*;

    #[test]
    fn the_events_with_texts_exist_and_references_look_like_this() {
        let with_text = RunEvent::type_names()
            .iter()
            .filter_map(|name| text_field(name))
            .count();
        assert_eq!(with_text, 4);
        let body = Body::Stored {
            object: format!("sha256:{}", "0".repeat(64)),
            bytes: 70_000,
        };
        assert!(serde_json::to_string(&body).unwrap().starts_with(REFERENCE));
    }
}
