//! YAML of bodies that have no schema of their own, and YAML answers.

use api_core::ApiError;
use api_schema::codec::read_yaml;
use serde_json::Value;

/// Reads YAML (or JSON, which is YAML too).
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if let Ok(mut value) = serde_json::from_slice(bytes) {
        whole_numbers(&mut value);
        return Ok(value);
    }
    let mut value = read_yaml(bytes)
        .map_err(|e| ApiError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}")))?;
    whole_numbers(&mut value);
    Ok(value)
}

/// Makes integers of all numbers that are, as `1e3`: upstream writes YAML as JSON before it reads it, and loses the difference.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            // Beyond, they are written with an exponent; those that no integer holds stay as they are.
            let whole = n.as_f64().filter(|f| f.trunc() == *f && f.abs() < 1e21).map(|f| f as i128);
            if let Some(whole) = whole.and_then(|i| i64::try_from(i).ok()) {
                *n = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Writes YAML.
pub(crate) fn write(json: &[u8]) -> Result<String, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    serde_saphyr::to_string(&value).map_err(ApiError::internal)
}
