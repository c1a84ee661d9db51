//! Answers in the protocols of OpenAI and Anthropic, and the Model Context Protocol.

use crate::anthropic::answer::OutMessage;
use crate::anthropic::request::MessageRequest;
use crate::openai::answer::ChatCompletion;
use crate::openai::embeddings::{EmbeddingList, EmbeddingsRequest};
use crate::openai::request::ChatRequest;
use crate::responses::object::ResponseObject;
use crate::responses::request::ResponseRequest;
use crate::routes::route::{Route, get, post};
use crate::routes::{catalog, chat, embeddings, mcp, messages, responses, tongue};

pub(super) fn routes() -> Vec<Route> {
    vec![
        post(
            tongue::CHAT,
            chat::complete,
            "createChatCompletion",
            "Answer a conversation by a run, as OpenAI's clients ask for it",
        )
        .body::<ChatRequest>()
        .example(r#"{"model":"agent:default","messages":[{"role":"user","content":"What is 6*7?"}]}"#)
        .answer::<ChatCompletion>(200, "The answer; `nexus-run-id` names the run behind it")
        .media(200, "text/event-stream")
        .problems(&[404, 409, 413, 415, 429, 500, 503, 504]),
        post(
            tongue::EMBEDDINGS,
            embeddings::create,
            "createEmbeddings",
            "Make vectors of texts by a run, as OpenAI's clients ask for it",
        )
        .body::<EmbeddingsRequest>()
        .example(r#"{"model":"text-embedding-3-small","input":"The capital of France"}"#)
        .answer::<EmbeddingList>(200, "The vectors; `nexus-run-id` names the run behind them")
        .problems(&[404, 409, 413, 415, 429, 500, 503, 504]),
        get(
            tongue::MODELS,
            catalog::models,
            "listModels",
            "Models and agents that a request may name, in OpenAI's form",
        )
        .answer::<catalog::Models>(200, "All of them"),
        get(tongue::MODEL, catalog::model, "getModel", "One of them")
            .answer::<catalog::Model>(200, "The model or agent")
            .problems(&[404]),
        post(
            tongue::MESSAGES,
            messages::create,
            "createMessage",
            "Answer a conversation by a run, as Anthropic's clients ask for it",
        )
        .body::<MessageRequest>()
        .example(r#"{"model":"agent:default","max_tokens":500,"messages":[{"role":"user","content":"What is 6*7?"}]}"#)
        .answer::<OutMessage>(200, "The answer; `nexus-run-id` names the run behind it")
        .media(200, "text/event-stream")
        .problems(&[404, 409, 413, 415, 429, 500, 504, 529]),
        post(
            tongue::RESPONSES,
            responses::create,
            "createResponse",
            "Answer by a run, whole, as a stream or later, as OpenAI's clients ask for it",
        )
        .body::<ResponseRequest>()
        .example(r#"{"model":"agent:default","input":"What is 6*7?"}"#)
        .answer::<ResponseObject>(200, "The response; with `background`, as far as it is")
        .media(200, "text/event-stream")
        .problems(&[404, 409, 413, 415, 429, 500, 503, 504]),
        get(
            tongue::RESPONSE,
            responses::get,
            "getResponse",
            "A response as it is, or what comes of it",
        )
        .query::<responses::GetQuery>()
        .answer::<ResponseObject>(200, "The response")
        .media(200, "text/event-stream")
        .problems(&[404, 503]),
        post(
            tongue::CANCEL,
            responses::cancel,
            "cancelResponse",
            "Stop a response",
        )
        .answer::<ResponseObject>(200, "The response as it is then")
        .problems(&[404, 503]),
        mcp::route(),
    ]
}
