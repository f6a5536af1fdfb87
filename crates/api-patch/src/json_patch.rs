//! JSON patch (RFC 6902), as lenient as the library that upstream uses: `replace` of a member that is not there adds it,
//! `copy` of one adds null, array indexes may count from the end.

use api_core::status::Details;
use api_core::{ApiError, Reason};
use api_schema::codec::{DEPTH_MAX, json_wording};
use serde_json::{Map, Value};

/// Operations in one patch; more are answered with 413.
pub const OPERATIONS_MAX: usize = 10_000;
/// What all `copy` operations of a patch may copy together; more are answered with 422.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Values that are looked at to see how deep operations nest them; a patch that needs more is answered with 422.
const MEASURED_VALUES_MAX: usize = 10_000_000;

/// `doc` with `patch` applied. 400 if the patch is no JSON patch, 413 if it is too long, 422 if it does not apply.
pub fn json_patch(doc: &Value, patch: &[u8]) -> Result<Value, ApiError> {
    // Upstream does not tell the client which operation failed.
    apply(doc, patch).map_err(|failed| match failed {
        Failed::Patch(error) => error,
        Failed::Operation(_) => rejected(),
    })
}

/// The same of a patch that a webhook made, whose author is told what failed.
///
/// # Errors
/// With upstream's words.
pub fn json_patch_of_webhook(doc: &Value, patch: &[u8]) -> Result<Value, String> {
    apply(doc, patch).map_err(|failed| match failed {
        Failed::Patch(error) => error.message,
        Failed::Operation(why) => why,
    })
}

/// Whether a patch has no operation.
///
/// # Errors
/// With upstream's words, if it is no patch.
pub fn is_empty_json_patch(patch: &[u8]) -> Result<bool, String> {
    decode(patch).map(|operations| operations.is_empty()).map_err(|e| e.message)
}

/// Why a patch is not carried out.
enum Failed {
    /// It is none.
    Patch(ApiError),
    /// One of its operations does not apply.
    Operation(String),
}

fn apply(doc: &Value, patch: &[u8]) -> Result<Value, Failed> {
    let operations = decode(patch).map_err(Failed::Patch)?;
    if operations.len() > OPERATIONS_MAX {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Failed::Patch(ApiError::new(413, Reason::RequestEntityTooLarge, message)));
    }
    let mut doc = doc.clone();
    let mut spent = Spent::default();
    for operation in &operations {
        if run(&mut doc, operation, &mut spent).is_none() {
            return Err(Failed::Operation(why(&mut doc, operation)));
        }
    }
    Ok(doc)
}

/// Why an operation does not apply to `doc`, which it may have changed in part.
fn why(doc: &mut Value, operation: &Map<String, Value>) -> String {
    let text = |field: &str| operation.get(field).and_then(Value::as_str);
    let op = text("op").unwrap_or("unknown");
    if !matches!(op, "add" | "remove" | "replace" | "move" | "copy" | "test") {
        return format!("Unexpected kind: {op}");
    }
    let is_transfer = matches!(op, "move" | "copy");
    let from = text("from").filter(|_| is_transfer);
    if is_transfer && from.is_none() {
        return format!("{op} operation failed to decode from: operation, missing from field: missing value");
    }
    let Some(path) = text("path") else {
        let detail = if matches!(op, "add" | "remove" | "copy") { "" } else { "operation missing path field: " };
        return format!("{op} operation failed to decode path: {detail}missing value");
    };
    if let Some(from) = from.filter(|from| container(doc, from).is_none()) {
        return format!("{op} operation does not apply: doc is missing from path: {from}: missing value");
    }
    let Some((container, key)) = container(doc, path) else {
        return match op {
            "add" | "remove" => {
                format!("{op} operation does not apply: doc is missing path: \"{path}\": missing value")
            }
            "test" if path.is_empty() => format!("testing value {path} failed: test failed"),
            "test" => format!("test operation does not apply: is missing path: {path}: missing value"),
            "replace" => format!("replace operation does not apply: doc is missing path: {path}: missing value"),
            _ => format!("{op} operation does not apply: doc is missing destination path: {path}: missing value"),
        };
    };
    let index = match container {
        Value::Object(_) if op == "remove" => Some(format!("Unable to remove nonexistent key: {key}: missing value")),
        Value::Object(_) => None,
        // It is there, and is another.
        Value::Array(items) if op == "test" && index(&key, items.len()).is_some() => None,
        _ if key.parse::<i64>().is_err() => {
            Some(format!("value was not a proper array index: '{key}': strconv.Atoi: parsing {key:?}: invalid syntax"))
        }
        _ => Some(format!("Unable to access invalid index: {key}: invalid index referenced")),
    };
    match (op, index) {
        ("replace", _) => format!("replace operation does not apply: doc is missing key: {path}: missing value"),
        ("test", None) => format!("testing value {path} failed: test failed"),
        (_, Some(index)) => format!("error in {op} for path: '{path}': {index}"),
        (_, None) => format!("error in {op} for path: '{path}'"),
    }
}

/// What the operations so far have cost.
#[derive(Debug, Default)]
struct Spent {
    copied_bytes: usize,
    measured_values: usize,
}

impl Spent {
    /// Whether a value may stand at `path`: a document must not become deeper than one that can be read.
    fn fits(&mut self, value: &Value, path: &str) -> Option<()> {
        // A document with as many levels as that is refused already.
        let levels = DEPTH_MAX.checked_sub(steps(path) + 1)?;
        self.is_lower(value, levels).then_some(())
    }

    fn is_lower(&mut self, value: &Value, levels: usize) -> bool {
        self.measured_values += 1;
        if self.measured_values > MEASURED_VALUES_MAX {
            return false;
        }
        match value {
            Value::Array(items) => levels > 0 && items.iter().all(|item| self.is_lower(item, levels - 1)),
            Value::Object(map) => levels > 0 && map.values().all(|item| self.is_lower(item, levels - 1)),
            _ => true,
        }
    }
}

/// Levels from the document down to what `path` points at.
fn steps(path: &str) -> usize {
    path.bytes().filter(|b| *b == b'/').count()
}

/// 422 as an answer to a patch that does not apply.
pub(crate) fn rejected() -> ApiError {
    ApiError::new(422, Reason::Invalid, "the server rejected our request due to an error in our request")
        .with_details(Details::default())
}

fn decode(patch: &[u8]) -> Result<Vec<Map<String, Value>>, ApiError> {
    let patch: Value = serde_json::from_slice(patch).map_err(|e| ApiError::bad_request(json_wording(patch, &e)))?;
    let wrong = |what: &Value, into: &str| {
        let what = match what {
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            _ => "bool",
        };
        ApiError::bad_request(format!("json: cannot unmarshal {what} into Go value of type jsonpatch.{into}"))
    };
    match patch {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            let operation = |item| match item {
                Value::Object(map) => Ok(map),
                Value::Null => Ok(Map::new()),
                other => Err(wrong(&other, "Operation")),
            };
            items.into_iter().map(operation).collect()
        }
        other => Err(wrong(&other, "Patch")),
    }
}

/// `None` if the operation does not apply.
fn run(doc: &mut Value, operation: &Map<String, Value>, spent: &mut Spent) -> Option<()> {
    let text = |field: &str| operation.get(field).and_then(Value::as_str);
    let path = text("path");
    let value = || operation.get("value").cloned().unwrap_or_default();
    match text("op")? {
        "add" => {
            spent.fits(operation.get("value").unwrap_or(&Value::Null), path?)?;
            add(doc, path?, value())
        }
        "remove" => {
            let (container, key) = container(doc, path?)?;
            remove(container, &key).map(drop)
        }
        "replace" => {
            let path = path?;
            spent.fits(operation.get("value").unwrap_or(&Value::Null), path)?;
            if path.is_empty() {
                let value = operation.get("value")?;
                // What is neither replaces nothing, and that is no error to upstream.
                if value.is_object() || value.is_array() {
                    doc.clone_from(value);
                }
                return Some(());
            }
            let (container, key) = container(doc, path)?;
            match container {
                Value::Object(map) => map.insert(key, value()).map_or((), drop),
                Value::Array(items) => {
                    let i = index(&key, items.len())?;
                    items[i] = value();
                }
                _ => return None,
            }
            Some(())
        }
        "move" => {
            let origin = text("from")?;
            let (from, key) = container(doc, origin)?;
            let moved = remove(from, &key)?;
            if steps(path?) > steps(origin) {
                spent.fits(&moved, path?)?;
            }
            add(doc, path?, moved)
        }
        "copy" => {
            let (from, key) = container(doc, text("from")?)?;
            let copy = get(from, &key)?.cloned().unwrap_or_default();
            spent.copied_bytes += copy.to_string().len();
            if spent.copied_bytes > COPIED_BYTES_MAX {
                return None;
            }
            spent.fits(&copy, path?)?;
            add(doc, path?, copy)
        }
        "test" => {
            let path = path?;
            let expected = operation.get("value")?;
            if path.is_empty() {
                return (doc == expected).then_some(());
            }
            let (container, key) = container(doc, path)?;
            let null = Value::Null;
            (get(container, &key)?.unwrap_or(&null) == expected).then_some(())
        }
        _ => None,
    }
}

/// What holds the last step of `path`, and that step.
fn container<'a>(doc: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut steps = path.split('/');
    // What stands before the first slash is not looked at.
    steps.next()?;
    let mut steps = steps.map(|step| step.replace("~1", "/").replace("~0", "~")).peekable();
    let mut at = doc;
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            return (at.is_object() || at.is_array()).then_some((at, step));
        }
        at = match at {
            Value::Object(map) => map.get_mut(&step)?,
            Value::Array(items) => {
                let i = index(&step, items.len())?;
                items.get_mut(i)?
            }
            _ => return None,
        };
    }
    None
}

/// An index below `len`; a negative one counts from the end.
fn index(key: &str, len: usize) -> Option<usize> {
    let i: i64 = key.parse().ok()?;
    let len = i64::try_from(len).ok()?;
    let i = if i < 0 { i + len } else { i };
    (0..len).contains(&i).then(|| usize::try_from(i).ok())?
}

/// `Some(None)` for a member that is not there.
fn get<'a>(container: &'a Value, key: &str) -> Option<Option<&'a Value>> {
    match container {
        Value::Object(map) => Some(map.get(key)),
        Value::Array(items) => Some(Some(items.get(index(key, items.len())?)?)),
        _ => None,
    }
}

fn add(doc: &mut Value, path: &str, value: Value) -> Option<()> {
    let (container, key) = container(doc, path)?;
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => items.insert(index(&key, items.len() + 1)?, value),
        _ => return None,
    }
    Some(())
}

fn remove(container: &mut Value, key: &str) -> Option<Value> {
    match container {
        Value::Object(map) => map.remove(key),
        Value::Array(items) => Some(items.remove(index(key, items.len())?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(doc: Value, patch: Value) -> Result<Value, u16> {
        json_patch(&doc, patch.to_string().as_bytes()).map_err(|e| e.code)
    }

    #[test]
    fn a_webhook_is_told_what_fails() {
        let doc = json!({"a": "1", "l": [1], "m": {}});
        for (patch, why) in [
            (json!([{"op": "frob", "path": "/a"}]), "Unexpected kind: frob"),
            (json!([{"op": "add", "value": 1}]), "add operation failed to decode path: missing value"),
            (
                json!([{"op": "add", "path": "/x/y", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/x/y\": missing value",
            ),
            (json!([{"op": "test", "path": "/a", "value": "2"}]), "testing value /a failed: test failed"),
            (json!([{"op": "test", "path": "/l/0", "value": null}]), "testing value /l/0 failed: test failed"),
            (
                json!([{"op": "remove", "path": "/m/z"}]),
                "error in remove for path: '/m/z': Unable to remove nonexistent key: z: missing value",
            ),
            (
                json!([{"op": "remove", "path": "/l/3"}]),
                "error in remove for path: '/l/3': Unable to access invalid index: 3: invalid index referenced",
            ),
            (
                json!([{"op": "replace", "path": "/x/y", "value": 1}]),
                "replace operation does not apply: doc is missing path: /x/y: missing value",
            ),
            (json!("x"), "json: cannot unmarshal string into Go value of type jsonpatch.Patch"),
        ] {
            assert_eq!(json_patch_of_webhook(&doc, patch.to_string().as_bytes()), Err(why.to_owned()), "{patch}");
        }
        assert_eq!(is_empty_json_patch(b"[]"), Ok(true));
        assert_eq!(is_empty_json_patch(b"{"), Err("unexpected end of JSON input".to_owned()));
    }

    #[test]
    fn operations() {
        let doc = || json!({"a": {"b": 1}, "l": [1, 2, 3], "x/y": {"~": null}});
        let cases = [
            (
                json!([{"op": "add", "path": "/c", "value": 2}]),
                Some(json!({"a": {"b": 1}, "l": [1, 2, 3], "x/y": {"~": null}, "c": 2})),
            ),
            (
                json!([{"op": "add", "path": "/l/-", "value": 4}, {"op": "add", "path": "/l/0", "value": 0}, {"op": "remove", "path": "/a"}, {"op": "remove", "path": "/x~1y"}]),
                Some(json!({"l": [0, 1, 2, 3, 4]})),
            ),
            (
                json!([{"op": "add", "path": "/l/-1", "value": 4}, {"op": "remove", "path": "/l/-2"}, {"op": "remove", "path": "/x~1y/~0"}, {"op": "remove", "path": "/a"}]),
                Some(json!({"l": [1, 2, 4], "x/y": {}})),
            ),
            (
                json!([{"op": "replace", "path": "/a/new", "value": 1}, {"op": "move", "from": "/a", "path": "/m"}, {"op": "copy", "from": "/l/1", "path": "/n"}, {"op": "remove", "path": "/x~1y"}]),
                Some(json!({"m": {"b": 1, "new": 1}, "l": [1, 2, 3], "n": 2})),
            ),
            (
                json!([{"op": "test", "path": "/a/b", "value": 1}, {"op": "test", "path": "/a/none", "value": null}, {"op": "test", "path": "/l", "value": [1, 2, 3]}]),
                Some(doc()),
            ),
            (json!([{"op": "replace", "path": "", "value": {"z": 1}}]), Some(json!({"z": 1}))),
            (json!([{"op": "test", "path": "/a/b", "value": 2}]), None),
            (json!([{"op": "remove", "path": "/none"}]), None),
            (json!([{"op": "add", "path": "/none/a", "value": 1}]), None),
            (json!([{"op": "add", "path": "/l/5", "value": 1}]), None),
            (json!([{"op": "replace", "path": "/l/3", "value": 1}]), None),
            (json!([{"op": "add", "path": "", "value": 1}]), None),
            (json!([{"op": "jump", "path": "/a"}]), None),
            (json!([{"path": "/a"}]), None),
        ];
        for (patch, expected) in cases {
            assert_eq!(patched(doc(), patch.clone()), expected.ok_or(422), "{patch}");
        }
    }

    #[test]
    fn malformed_and_oversized_patches() {
        assert_eq!(patched(json!({}), json!({"op": "add"})), Err(400));
        assert_eq!(patched(json!({}), json!(["add"])), Err(400));
        assert_eq!(json_patch(&json!({}), b"{").map_err(|e| e.code), Err(400));
        let many: Value = (0..=OPERATIONS_MAX).map(|_| json!({"op": "test", "path": "/a", "value": null})).collect();
        assert_eq!(patched(json!({}), many), Err(413));
        let big = json!({"a": "x".repeat(COPIED_BYTES_MAX)});
        assert_eq!(patched(big, json!([{"op": "copy", "from": "/a", "path": "/b"}])), Err(422));
        let e = json_patch(&json!({}), br#"[{"op":"remove","path":"/a"}]"#).unwrap_err().to_status();
        assert_eq!(e["details"], json!({}));
        assert_eq!(e["reason"], "Invalid");
    }

    #[test]
    fn no_document_becomes_too_deep_to_be_read() {
        // Each round puts the document one level further down.
        let rounds = |n: usize| -> Value {
            let round = [
                json!({"op": "add", "path": "/b", "value": {}}),
                json!({"op": "move", "from": "/a", "path": "/b/a"}),
                json!({"op": "move", "from": "/b", "path": "/a"}),
            ];
            round.iter().cycle().take(3 * n).cloned().collect()
        };
        let copies =
            |n: usize| -> Value { (0..n).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/a"})).collect() };
        let doc = || json!({"a": {}});
        for (patch, answer) in
            [(rounds(100), None), (rounds(3000), Some(422)), (copies(100), None), (copies(900), Some(422))]
        {
            assert_eq!(patched(doc(), patch).err(), answer);
        }
        let nested = |n: usize| (0..n).fold(json!({}), |inner, _| json!({"a": inner}));
        let path = "/a".repeat(100);
        for (depth, answer) in [(26, None), (27, Some(422))] {
            let patch = json!([{"op": "add", "path": path, "value": nested(depth)}]);
            let patched = patched(nested(100), patch);
            assert_eq!(patched.as_ref().err(), answer.as_ref(), "{depth}");
            assert!(
                patched.is_err() || serde_json::from_str::<Value>(&patched.unwrap_or_default().to_string()).is_ok()
            );
        }
        let wide = json!({"w": vec![0; 10_000], "x": {}});
        let moves =
            [json!({"op": "move", "from": "/w", "path": "/x/w"}), json!({"op": "move", "from": "/x/w", "path": "/w"})];
        let moves: Value = moves.iter().cycle().take(OPERATIONS_MAX).cloned().collect();
        assert_eq!(patched(wide, moves).err(), Some(422), "measuring has an end");
    }

    proptest! {
        #[test]
        fn never_panics(path in "(/[a-z0-9~-]{0,2}){0,3}", from in "(/[al0-9~-]{0,2}){0,3}", op in "add|remove|replace|move|copy|test") {
            let patch = json!([{"op": op, "path": path, "from": from, "value": 1}]);
            let answer = patched(json!({"a": {"b": [1, {"c": null}]}, "l": [[], {}]}), patch);
            prop_assert!(matches!(answer, Ok(_) | Err(422)));
        }
    }
}
