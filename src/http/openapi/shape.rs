//! The shapes of what is sent and answered, where no type of Rust has them.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{
    AllOfBuilder, ArrayBuilder, ComponentsBuilder, ObjectBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};

use crate::base::limits::{MAX_DOC_ID_BYTES, MAX_OPS};
use crate::crdt::Op;
use crate::http::problem::KINDS;

pub(super) const PROBLEM: &str = "Problem";
pub(super) const DOCUMENT: &str = "Document";
pub(super) const OPERATIONS: &str = "Operations";
pub(super) const WRITTEN: &str = "Written";
pub(super) const VERSION: &str = "Version";

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn flag() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

pub(super) fn integer(least: u64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least as f64))
}

/// Any JSON value at all.
pub(super) fn any() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}

pub(super) fn array(items: impl Into<RefOr<Schema>>) -> ArrayBuilder {
    ArrayBuilder::new().items(items.into())
}

pub(super) fn named(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

/// An object that has these members, each of them always.
pub(super) fn object<const N: usize>(members: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    members.into_iter().fold(object, |object, (name, shape)| object.property(name, shape).required(name))
}

pub(super) fn id() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(MAX_DOC_ID_BYTES))
}

/// As it goes into headers.
pub(super) fn version() -> ObjectBuilder {
    text().description(Some("Quoted strings with commas between. Opaque: to be sent back as it came"))
}

pub(super) fn etag() -> ObjectBuilder {
    text().pattern(Some("^\"[^\"]*\"$"))
}

/// A problem of one of these types.
pub(super) fn problem_of(problem: Ref, types: Vec<String>) -> AllOfBuilder {
    let kind =
        ObjectBuilder::new().schema_type(Type::Object).property("type", text().enum_values(Some(types)));
    AllOfBuilder::new().item(problem).item(kind)
}

/// Adds the shape of a type, and of those that it is made of.
pub(super) fn with<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    components.schema(T::name(), T::schema()).schemas_from_iter(parts)
}

/// Adds the shapes of this file.
pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    with::<Op>(components)
        .schema(PROBLEM, problem())
        .schema(DOCUMENT, document())
        .schema(OPERATIONS, operations())
        .schema(WRITTEN, written())
        .schema(VERSION, heads())
}

fn problem() -> ObjectBuilder {
    let types: Vec<String> = KINDS.iter().map(|kind| kind.urn()).collect();
    object([
        ("type", text().enum_values(Some(types)).into()),
        ("title", text().into()),
        ("status", integer(400).into()),
        ("detail", text().description(Some("What is wrong with this request, for people")).into()),
    ])
    .description(Some(
        "An error (RFC 9457). `type` stays; title and detail may change. The members below are there where the \
         type has them",
    ))
    .property("header", text().description(Some("`malformed`: the header that cannot be read")))
    .property("parameter", text().description(Some("`malformed`: the query parameter that cannot be read")))
    .property("right", text().description(Some("`no-right`: the right that the token lacks")))
    .property("masters", array(text()).description(Some("`read-only`: base URLs of the masters known here")))
    .property("missing", array(text()).description(Some("`missing-dependencies`: the hashes that are missing")))
    .property("current", array(text()).description(Some("`precondition-failed`: the version here")))
    .property("version", array(text()).description(Some("`gone`: the version that deletes it")))
    .property("limit", integer(0).description(Some("`too-large`: bytes that a body may have")))
    .property("pointer", text().description(Some("`refused`: a JSON pointer to what is refused")))
    .property("change", text().description(Some("`change-refused`: the hash of that change")))
}

fn document() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(RefOr::T(Schema::from(any()))))
        .description(Some(
            "A document: a JSON object. An object with one member `$text`, `$counter`, `$timestamp` or `$bytes` \
             is a text that several people edit, a number to which increments add up, a time, or bytes; a \
             literal key that begins with `$` is written with `$$`. Integers have up to 64 bits.",
        ))
        .examples([json!({
            "title": "Groceries",
            "items": [{"id": "b1", "name": "bread"}],
            "note": {"$text": "by Saturday"},
            "views": {"$counter": 0},
        })])
}

fn heads() -> ArrayBuilder {
    array(text()).description(Some("A version of a document: the hashes of its heads. Opaque"))
}

fn written() -> ObjectBuilder {
    object([
        ("created", flag().description(Some("The document was not there before")).into()),
        ("version", described(VERSION, "The one version that this write made")),
        ("current", described(VERSION, "The heads after it, with what others wrote")),
    ])
}

fn described(name: &str, text: &str) -> RefOr<Schema> {
    let mut shape = named(name);
    shape.description = text.to_owned();
    RefOr::Ref(shape)
}

fn operations() -> ArrayBuilder {
    array(named(&Op::name())).max_items(Some(MAX_OPS)).description(Some(
        "Typed operations, made in order, all in one change. Positions count Unicode code points",
    ))
}

/// An example of [`operations`].
pub(super) fn operations_example() -> Value {
    json!([
        {"op": "increment", "path": "/views", "by": 1},
        {"op": "list.insert", "path": "/items", "index": 0, "value": "coffee"},
        {"op": "text.splice", "path": "/note", "pos": 0, "delete": 2, "insert": "By"},
    ])
}
