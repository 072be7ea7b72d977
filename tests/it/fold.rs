//! Patches of a subscription, applied to JSON as a client does it.

use serde_json::Value;

/// Applies a list of typed operations to a document.
pub fn fold(document: &mut Value, patch: &Value) -> Result<(), String> {
    let operations = patch.as_array().ok_or("a patch is a list")?;
    operations.iter().try_for_each(|operation| apply(document, operation).ok_or(format!("{operation}")))
}

fn apply(document: &mut Value, operation: &Value) -> Option<()> {
    let number = |name: &str| operation.get(name).map_or(Some(0), Value::as_u64)?.try_into().ok();
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "put" => match place(document, path)? {
            (Value::Object(map), key) => drop(map.insert(key, operation.get("value")?.clone())),
            (Value::Array(list), index) => {
                *list.get_mut(index.parse::<usize>().ok()?)? = operation.get("value")?.clone()
            }
            _ => return None,
        },
        "delete" => {
            let (map, key) = place(document, path)?;
            map.as_object_mut()?.remove(&key)?;
        }
        "increment" => {
            let there = document.pointer_mut(path)?;
            *there = Value::from(there.as_i64()?.wrapping_add(operation["by"].as_i64()?));
        }
        "text.splice" => {
            let there = document.pointer_mut(path)?;
            let (pos, delete): (usize, usize) = (number("pos")?, number("delete")?);
            let mut letters: Vec<char> = there.as_str()?.chars().collect();
            let insert = operation.get("insert").map_or(Some(""), Value::as_str)?;
            if pos + delete > letters.len() {
                return None;
            }
            letters.splice(pos..pos + delete, insert.chars());
            *there = Value::from(letters.into_iter().collect::<String>());
        }
        "list.insert" => {
            let list = document.pointer_mut(path)?.as_array_mut()?;
            let index: usize = number("index")?;
            if index > list.len() {
                return None;
            }
            list.insert(index, operation.get("value")?.clone());
        }
        "list.delete" => {
            let list = document.pointer_mut(path)?.as_array_mut()?;
            let (index, count): (usize, usize) = (number("index")?, number("count")?);
            if count == 0 || index + count > list.len() {
                return None;
            }
            list.drain(index..index + count);
        }
        _ => return None,
    }
    Some(())
}

/// What is around the place that a pointer leads to, and the last step.
fn place<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (outer, last) = path.rsplit_once('/')?;
    Some((document.pointer_mut(outer)?, last.replace("~1", "/").replace("~0", "~")))
}
