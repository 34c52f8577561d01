//! What requests are read by, so that whatever cannot be read gets the one shape of refusals.

use super::error::ApiError;
use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

/// A resource that takes no parameters: one that is written all the same is a slip, and said.
pub struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(_) => Err(ApiError::unreadable("", "this path takes no parameters")),
        }
    }
}

/// The last segment of a resource's path, or the one that the route calls `id` or `name`.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|p| Self(p.0)).map_err(|_| ApiError::unreadable("", "the path cannot be read"))
    }
}

/// A body, not too large.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let too_large = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large; send it in parts");
        // What is too large by its own word is not waited for.
        if request.body().size_hint().lower() > super::LARGEST_LIST as u64 {
            return Err(too_large());
        }
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
            Err(_) => Err(ApiError::unreadable("", "the body broke off")),
        }
    }
}

/// The media type of a body, without its parameters.
pub fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// 415: the body is of another kind than the path takes.
pub fn wrong_type(expected: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", format!("Content-Type must be {expected}"))
}
