//! One route: where, by whom it is handled, and what the OpenAPI document says of it.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::app::App;
use crate::identity::Access;

/// Makes a schema.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One route.
pub(crate) struct Route {
    /// As in the document: `get`, `post`, `put`.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Its name in generated clients.
    pub(crate) operation: &'static str,
    pub(crate) summary: &'static str,
    /// What it demands of whoever calls.
    pub(crate) access: Access,
    pub(crate) query: Option<SchemaOf>,
    pub(crate) body: Option<BodyDoc>,
    /// A body that anybody may try; JSON.
    pub(crate) example: Option<&'static str>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) problems: &'static [u16],
    pub(crate) handler: MethodRouter<App>,
}

/// A body that it takes.
#[derive(Clone, Copy)]
pub(crate) struct BodyDoc {
    pub(crate) schema: SchemaOf,
    pub(crate) required: bool,
}

/// An answer that it gives.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) description: &'static str,
    pub(crate) content: Content,
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// JSON of a type.
    Json(SchemaOf),
    /// A page of a list of a type.
    Page(SchemaOf),
    /// Text of a media type.
    Media(&'static str),
    /// Nothing.
    Empty,
}

pub(crate) fn get<T: 'static>(
    path: &'static str,
    handler: impl Handler<T, App>,
    operation: &'static str,
    summary: &'static str,
) -> Route {
    Route::new("get", path, routing::get(handler), operation, summary)
}

pub(crate) fn post<T: 'static>(
    path: &'static str,
    handler: impl Handler<T, App>,
    operation: &'static str,
    summary: &'static str,
) -> Route {
    Route::new("post", path, routing::post(handler), operation, summary)
}

pub(crate) fn put<T: 'static>(
    path: &'static str,
    handler: impl Handler<T, App>,
    operation: &'static str,
    summary: &'static str,
) -> Route {
    Route::new("put", path, routing::put(handler), operation, summary)
}

pub(crate) fn delete<T: 'static>(
    path: &'static str,
    handler: impl Handler<T, App>,
    operation: &'static str,
    summary: &'static str,
) -> Route {
    Route::new("delete", path, routing::delete(handler), operation, summary)
}

impl Route {
    fn new(
        method: &'static str,
        path: &'static str,
        handler: MethodRouter<App>,
        operation: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            operation,
            summary,
            access: match method {
                "get" => Access::Read,
                _ => Access::Use,
            },
            query: None,
            body: None,
            example: None,
            answers: vec![],
            problems: &[],
            handler,
        }
    }

    /// What it demands, where that is not what its method says.
    pub(crate) fn demands(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(BodyDoc {
            schema: SchemaGenerator::subschema_for::<T>,
            required: true,
        });
        self
    }

    /// A body as somebody would send it.
    pub(crate) fn example(mut self, json: &'static str) -> Self {
        self.example = Some(json);
        self
    }

    pub(crate) fn maybe_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(BodyDoc {
            schema: SchemaGenerator::subschema_for::<T>,
            required: false,
        });
        self
    }

    pub(crate) fn answer<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.with(
            status,
            description,
            Content::Json(SchemaGenerator::subschema_for::<T>),
        )
    }

    pub(crate) fn page<T: JsonSchema>(self, description: &'static str) -> Self {
        self.with(
            200,
            description,
            Content::Page(SchemaGenerator::subschema_for::<T>),
        )
    }

    /// Another form of an answer.
    pub(crate) fn media(self, status: u16, media_type: &'static str) -> Self {
        self.with(status, "", Content::Media(media_type))
    }

    pub(crate) fn empty(self, status: u16, description: &'static str) -> Self {
        self.with(status, description, Content::Empty)
    }

    /// Statuses of the problems that it has beyond those that every route has.
    pub(crate) fn problems(mut self, statuses: &'static [u16]) -> Self {
        self.problems = statuses;
        self
    }

    fn with(mut self, status: u16, description: &'static str, content: Content) -> Self {
        self.answers.push(Answer {
            status,
            description,
            content,
        });
        self
    }
}
