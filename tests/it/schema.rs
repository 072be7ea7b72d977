//! Frames judged by the JSON Schema in `docs/`: as much of JSON Schema as that one uses.

use serde_json::Value;

/// Asserts that it is one of the frames that a `node` or a `client` sends.
#[track_caller]
pub fn validate(side: &str, frame: &Value) {
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/subscriptions.schema.json")).expect("a schema");
    let kind = frame["type"].as_str().unwrap_or_default();
    let is_said = schema["$defs"][side]["oneOf"].as_array().expect("frames");
    let reference = format!("#/$defs/{kind}");
    assert!(is_said.iter().any(|of| of["$ref"] == *reference), "a {side} sends no {kind:?}: {frame}");
    if let Err(why) = judge(&schema, &schema["$defs"][kind], frame) {
        panic!("{why}, in {frame}");
    }
}

fn judge(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let no = |what: &str| Err(format!("{value} is not {what} {schema}"));
    for (word, rule) in schema.as_object().ok_or("a schema is an object")? {
        let number = |of: &Value| of.as_f64().unwrap_or(f64::NAN);
        let fits = match (word.as_str(), value) {
            ("description" | "contentEncoding", _) => true,
            ("$ref", _) => {
                let name = rule.as_str().and_then(|to| to.rsplit('/').next()).unwrap_or_default();
                return judge(root, &root["$defs"][name], value);
            }
            ("const", _) => value == rule,
            ("enum", _) => rule.as_array().is_some_and(|all| all.contains(value)),
            ("type", Value::Object(_)) => rule == "object",
            ("type", Value::Array(_)) => rule == "array",
            ("type", Value::String(_)) => rule == "string",
            ("type", Value::Number(n)) => rule == "integer" && !n.is_f64(),
            ("minimum", Value::Number(_)) => number(value) >= number(rule),
            ("minLength", Value::String(text)) => text.len() as f64 >= number(rule),
            ("maxLength", Value::String(text)) => text.len() as f64 <= number(rule),
            ("pattern", Value::String(text)) => matches(rule.as_str().unwrap_or_default(), text),
            ("uniqueItems", Value::Array(items)) => {
                items.iter().enumerate().all(|(n, item)| !items[..n].contains(item))
            }
            ("items", Value::Array(items)) => {
                items.iter().try_for_each(|item| judge(root, rule, item))?;
                true
            }
            ("required", Value::Object(members)) => rule.as_array().is_some_and(|names| {
                names.iter().all(|name| members.contains_key(name.as_str().unwrap_or("")))
            }),
            ("properties", Value::Object(members)) => {
                for (name, member) in members {
                    if let Some(rule) = rule.get(name) {
                        judge(root, rule, member)?;
                    }
                }
                true
            }
            ("additionalProperties", Value::Object(members)) => {
                members.keys().all(|name| schema["properties"].get(name).is_some())
            }
            ("oneOf", _) => {
                let all = rule.as_array().map(Vec::as_slice).unwrap_or_default();
                all.iter().filter(|schema| judge(root, schema, value).is_ok()).count() == 1
            }
            _ => false,
        };
        if !fits {
            return no(word);
        }
    }
    Ok(())
}

/// The three patterns of the schema.
fn matches(pattern: &str, text: &str) -> bool {
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    match pattern {
        "^[0-9a-f]{64}$" => text.len() == 64 && text.chars().all(is_hex),
        "^[A-Za-z0-9_-]+$" => {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        }
        "^(/([^~/]|~0|~1)*)*$" => {
            (text.is_empty() || text.starts_with('/'))
                && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
        }
        other => panic!("a pattern that is not known here: {other}"),
    }
}
