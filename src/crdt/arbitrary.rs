//! Random values for property tests.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]", 1 => "id|key|_id", 1 => ".{0,3}"].prop_map(|key| {
        // What begins with $ would be one of our words, or refused.
        if key.starts_with('$') { format!("${key}") } else { key }
    })
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (-3i64..3).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_filter("0.0 is -0.0, and JSON has no more", |n| n.is_normal()).prop_map(Value::from),
        1 => Just(json!(1.0)),
    ]
}

fn plain_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        "[ab]{0,4}".prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ]
}

fn typed_leaf() -> impl Strategy<Value = Value> {
    // To the end of the year 9999.
    let time = (-62_167_219_200_000i64..253_402_300_799_999)
        .prop_map(|ms| json!({"$timestamp": jiff::Timestamp::from_millisecond(ms).unwrap().to_string()}));
    prop_oneof![
        4 => plain_leaf(),
        1 => "[ab]{0,6}|.{0,6}".prop_map(|text| json!({"$text": text})),
        1 => (-3i64..3).prop_map(|n| json!({"$counter": n})),
        1 => any::<i64>().prop_map(|n| json!({"$counter": n})),
        1 => time,
        1 => Just(json!({"$bytes": "AAEC/w=="})),
    ]
}

fn nested(leaf: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(key(), inner.clone(), 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            vec((0u8..6, inner.clone()), 0..6).prop_map(|things| {
                things.into_iter().map(|(id, value)| json!({"id": id, "v": value})).collect()
            }),
        ]
    })
    .boxed()
}

fn in_object(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    btree_map(key(), value, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())).boxed()
}

/// Any JSON value without our words.
pub fn value() -> BoxedStrategy<Value> {
    nested(plain_leaf())
}

/// A document without texts, counters, times and bytes.
pub fn plain_document() -> BoxedStrategy<Value> {
    in_object(value())
}

/// A document of everything that the mapping takes.
pub fn document() -> BoxedStrategy<Value> {
    in_object(nested(typed_leaf()))
}
