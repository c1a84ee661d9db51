//! What makes two questions one: a digest over all that decides the answer, in one way of writing it.

use nexus_content::Rules;
use nexus_events::Tenant;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::provider::{ChatRequest, ModelInfo, ToolChoice};

/// Another when the key is made otherwise: answers under the old one are not found any more.
const VERSION: u32 = 1;

/// The digest in hexadecimal. `after` is what is done with the answer before it is recorded; how
/// long it may be is not part of it, for only whole answers are kept. Each field of the request is
/// named, so that a new one does not compile until it is decided whether it belongs here.
pub(super) fn digest(
    tenant: &Tenant,
    models: &[&ModelInfo],
    request: &ChatRequest,
    after: (&Rules, &[String]),
) -> Option<String> {
    let ChatRequest {
        model: _,
        messages,
        tools,
        tool_choice,
        max_tokens: _,
        temperature,
        top_p,
        stop,
        seed,
        response_schema,
        hidden_output: _,
        input_bound: _,
    } = request;
    let tool_choice = match tool_choice {
        ToolChoice::Auto => ("auto", None),
        ToolChoice::Required => ("required", None),
        ToolChoice::Named(name) => ("named", Some(name)),
        ToolChoice::None => ("none", None),
    };
    // Whichever endpoint answers: all of them are one model, as whoever configured them says.
    let names: Vec<_> = (models.iter())
        .map(|model| (&model.name, &model.wire_name))
        .collect();
    let (rules, left_out) = after;
    let key = (
        (VERSION, tenant.as_str(), names),
        (messages, tools, tool_choice),
        (temperature, top_p, stop, seed, response_schema),
        (rules.output.describe(), left_out),
    );
    Some(hex::encode(Sha256::digest(canonical(&key)?)))
}

/// JSON with the fields of objects in order.
fn canonical(key: &impl Serialize) -> Option<Vec<u8>> {
    let mut value = serde_json::to_value(key).ok()?;
    sort(&mut value);
    serde_json::to_vec(&value).ok()
}

fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Object(fields) => {
            let mut all: Vec<_> = std::mem::take(fields).into_iter().collect();
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            all.iter_mut().for_each(|(_, value)| sort(value));
            *fields = all.into_iter().collect::<Map<_, _>>();
        }
        _ => {}
    }
}
