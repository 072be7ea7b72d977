//! One call of the description: what is sent, and every answer that may come.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Content, ContentBuilder, Paths, Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder, Schema,
};

use super::shape::{self, PROBLEM, integer, text};
use crate::http::problem::{BAD_HOST, BAD_ORIGIN, Kind, MALFORMED, NO_RIGHT, NO_TOKEN};

/// The security scheme that all calls share but the open ones.
pub(super) const BEARER: &str = "bearer";

/// What the guard may answer to any call.
const AT_THE_DOOR: [&Kind; 3] = [&MALFORMED, &BAD_HOST, &BAD_ORIGIN];
const WITHOUT_RIGHT: [&Kind; 2] = [&NO_TOKEN, &NO_RIGHT];

pub(super) struct Call {
    path: &'static str,
    method: HttpMethod,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    text: &'static str,
    needs_token: bool,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<(StatusCode, Answer)>,
    problems: Vec<&'static Kind>,
}

/// What a request or an answer carries: of each media type its shape, and an example.
#[derive(Clone, Default)]
pub(super) struct Body {
    text: &'static str,
    needed: bool,
    content: Vec<(&'static str, Content)>,
}

/// An answer that is no problem.
#[derive(Clone)]
pub(super) struct Answer {
    body: Body,
    headers: Vec<(&'static str, RefOr<Schema>, &'static str)>,
}

impl Call {
    pub fn new(method: HttpMethod, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            path,
            method,
            id,
            tag: "",
            summary,
            text: "",
            needs_token: true,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            problems: AT_THE_DOOR.to_vec(),
        }
    }

    pub fn tag(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    pub fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// Needs no token, ever.
    pub fn open(self) -> Self {
        Self { needs_token: false, ..self }
    }

    pub fn path_parameter(
        self,
        name: &'static str,
        shape: impl Into<RefOr<Schema>>,
        example: &str,
        text: &str,
    ) -> Self {
        let parameter = parameter(ParameterIn::Path, name, shape, text).required(Required::True);
        self.with(parameter.example(Some(example.into())))
    }

    pub fn query(self, name: &'static str, shape: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.with(parameter(ParameterIn::Query, name, shape, text))
    }

    pub fn header(self, name: &'static str, shape: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.with(parameter(ParameterIn::Header, name, shape, text))
    }

    fn with(mut self, parameter: ParameterBuilder) -> Self {
        self.parameters.push(parameter.build());
        self
    }

    pub fn body(self, body: Body) -> Self {
        Self { body: Some(body), ..self }
    }

    pub fn answers(mut self, status: StatusCode, answer: Answer) -> Self {
        self.answers.push((status, answer));
        self
    }

    pub fn fails(mut self, problems: &[&'static Kind]) -> Self {
        self.problems.extend(problems);
        self
    }

    /// Adds it, and the `HEAD` that comes with every `GET`.
    pub fn add_to(mut self, paths: &mut Paths) {
        if self.needs_token {
            self.problems.extend(WITHOUT_RIGHT);
        }
        if self.method == HttpMethod::Get {
            let (id, summary) = (format!("{}Head", self.id), format!("{}, without the body", self.summary));
            paths.add_path_operation(self.path, vec![HttpMethod::Head], self.operation(id, summary, false));
        }
        let operation = self.operation(self.id.to_owned(), self.summary.to_owned(), true);
        paths.add_path_operation(self.path, vec![self.method], operation);
    }

    fn operation(&self, id: String, summary: String, with_bodies: bool) -> Operation {
        let mut operation = OperationBuilder::new()
            .tag(self.tag)
            .operation_id(Some(id))
            .summary(Some(summary))
            .description(Some(self.text).filter(|text| !text.is_empty() && with_bodies))
            .responses(self.responses(with_bodies).build());
        if !self.parameters.is_empty() {
            operation = operation.parameters(Some(self.parameters.clone()));
        }
        if let Some(body) = &self.body {
            let required = if body.needed { Required::True } else { Required::False };
            let request = RequestBodyBuilder::new().description(Some(body.text)).required(Some(required));
            let request = body.content.iter().fold(request, |request, (media_type, content)| {
                request.content(*media_type, content.clone())
            });
            operation = operation.request_body(Some(request.build()));
        }
        if !self.needs_token {
            operation = operation.securities(Some([]));
        }
        operation.build()
    }

    fn responses(&self, with_bodies: bool) -> ResponsesBuilder {
        let mut responses = ResponsesBuilder::new();
        for (status, answer) in &self.answers {
            responses = responses.response(status.as_str(), answer.response(with_bodies));
        }
        // Several problems may share a status: what one of them means is told by its type.
        let mut by_status: BTreeMap<StatusCode, Vec<&Kind>> = BTreeMap::new();
        for kind in &self.problems {
            by_status.entry(kind.status).or_default().push(kind);
        }
        for (status, kinds) in by_status {
            responses = responses.response(status.as_str(), problems(status, &kinds, with_bodies));
        }
        responses
    }
}

impl Body {
    pub fn new(text: &'static str) -> Self {
        Self { text, needed: true, content: Vec::new() }
    }

    pub fn json(self, shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        self.of("application/json", shape, example)
    }

    pub fn of(mut self, media_type: &'static str, shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        let content = ContentBuilder::new().schema(Some(shape)).example(Some(example)).build();
        self.content.push((media_type, content));
        self
    }

    /// Bytes or text of that type, whose inside is not told here.
    pub fn opaque(mut self, media_type: &'static str) -> Self {
        self.content.push((media_type, Content::default()));
        self
    }
}

impl Answer {
    pub fn new(body: Body) -> Self {
        Self { body, headers: Vec::new() }
    }

    pub fn header(mut self, name: &'static str, shape: impl Into<RefOr<Schema>>, text: &'static str) -> Self {
        self.headers.push((name, shape.into(), text));
        self
    }

    fn response(&self, with_body: bool) -> Response {
        let mut response = ResponseBuilder::new().description(self.body.text);
        for (name, shape, text) in &self.headers {
            let header = HeaderBuilder::new().schema(shape.clone()).description(Some(*text));
            response = response.header(*name, header.build());
        }
        for (media_type, content) in self.body.content.iter().filter(|_| with_body) {
            response = response.content(*media_type, content.clone());
        }
        response.build()
    }
}

fn problems(status: StatusCode, kinds: &[&Kind], with_body: bool) -> Response {
    let titles: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.name, kind.title)).collect();
    let mut answer = Answer::new(Body::default());
    match status {
        StatusCode::UNAUTHORIZED => {
            answer = answer.header("WWW-Authenticate", text(), "`Bearer`, and what is wrong with the token");
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            answer = answer.header("Retry-After", integer(0), "Seconds after which to ask again");
        }
        _ => {}
    }
    let mut response = answer.response(false);
    response.description = titles.join("\n\n");
    if with_body {
        let names: Vec<String> = kinds.iter().map(|kind| kind.urn()).collect();
        let content = Content::new(Some(shape::problem_of(Ref::from_schema_name(PROBLEM), names)));
        response.content.insert("application/problem+json".to_owned(), content);
    }
    response
}

fn parameter(
    place: ParameterIn,
    name: &'static str,
    shape: impl Into<RefOr<Schema>>,
    text: &str,
) -> ParameterBuilder {
    ParameterBuilder::new().parameter_in(place).name(name).schema(Some(shape)).description(Some(text))
}

/// What all calls need unless they say otherwise.
pub(super) fn bearer() -> SecurityRequirement {
    SecurityRequirement::new::<_, _, String>(BEARER, [])
}
