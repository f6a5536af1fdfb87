//! YAML of bodies that have no schema of their own, and YAML answers.

use api_core::ApiError;
use api_schema::codec::{read_yaml, whole_numbers};
use serde_json::Value;

/// Reads YAML (or JSON, which is YAML too).
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if let Ok(mut value) = serde_json::from_slice(bytes) {
        whole_numbers(&mut value);
        return Ok(value);
    }
    read_yaml(bytes)
        .map_err(|e| ApiError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}")))
}

/// Writes YAML.
pub(crate) fn write(json: &[u8]) -> Result<String, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    serde_saphyr::to_string(&value).map_err(ApiError::internal)
}
