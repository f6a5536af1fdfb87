//! Token reviews: whose a token is.

use crate::Body;
use crate::authn;
use crate::posted::Posted;
use crate::server::Inner;
use api_core::ApiError;
use http::Response;
use serde_json::{Value, json};

/// Answers a review that was read.
pub(crate) fn create(server: &Inner, mut posted: Posted) -> Result<Response<Body>, ApiError> {
    let token = posted.value["spec"]["token"].as_str().unwrap_or("").to_owned();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let list = posted.value["spec"]["audiences"].as_array().into_iter().flatten();
    let audiences: Vec<String> = list.filter_map(|a| a.as_str().map(str::to_owned)).collect();
    posted.value["status"] = status(server, &token, &audiences);
    posted.answer()
}

fn status(server: &Inner, token: &str, audiences: &[String]) -> Value {
    match server.authenticator.token(token, audiences, authn::now()) {
        Ok(Some(taken)) => {
            let mut status = json!({"authenticated": true, "user": taken.user.to_value()});
            if !taken.audiences.is_empty() {
                status["audiences"] = json!(taken.audiences);
            }
            status
        }
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
    }
}
