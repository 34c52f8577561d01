//! Lists: `{"items":[…],"next":null}`, read on with `?after=` and what `next` said.

use super::error::ApiError;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

/// Items of one page where nobody says.
const USUAL: usize = 100;
/// Items of one page at most.
pub const MOST: usize = 1000;
/// A cursor is short; whatever is longer is none of ours.
const LONGEST_CURSOR: usize = 256;

/// `?limit=&after=`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Items wanted, 1 to [`MOST`].
    pub limit: usize,
    /// What the page before gave as `next`.
    pub after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<String>,
    after: Option<String>,
}

/// `?since=` beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSince {
    /// `?limit=&after=`
    pub page: Page,
    /// A time in UTC, or its beginning: `2025-11-22`. Empty: from the first.
    pub since: String,
}

impl<S: Sync> FromRequestParts<S> for PageSince {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let (mine, others): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| pair.starts_with("since="));
        let since = match mine.as_slice() {
            [] => String::new(),
            [pair] => since(pair)?,
            _ => return Err(ApiError::unreadable("since", "stands once")),
        };
        let rest = format!("/?{}", others.join("&"));
        let rest = rest.parse().map_err(|_| ApiError::unreadable("", "the parameters cannot be read"))?;
        let (mut others, ()) = axum::http::Request::new(()).into_parts();
        others.uri = rest;
        Ok(Self { page: Page::from_request_parts(&mut others, state).await?, since })
    }
}

/// A time as the records write it, or the beginning of one.
fn since(pair: &str) -> Result<String, ApiError> {
    let text = pair.trim_start_matches("since=").replace("%3A", ":").replace("%3a", ":");
    let text = text.trim_end_matches('Z').to_owned();
    let pattern = "dddd-dd-ddTdd:dd:dd.ddd";
    let fits = |(t, p): (u8, u8)| if p == b'd' { t.is_ascii_digit() } else { t == p };
    if text.len() >= 10 && text.len() <= pattern.len() && text.bytes().zip(pattern.bytes()).all(fits) {
        Ok(text)
    } else {
        Err(ApiError::unreadable("since", "must be a time in UTC as 2025-11-22 or 2025-11-22T19:00:00Z"))
    }
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let asked = Query::<Asked>::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::unreadable("", "the parameters of a list are limit and after, each once"))?;
        let limit = match asked.0.limit {
            None => USUAL,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=MOST).contains(n))
                .ok_or_else(|| ApiError::unreadable("limit", format!("must be a whole number from 1 to {MOST}")))?,
        };
        match asked.0.after {
            Some(after) if after.is_empty() || after.len() > LONGEST_CURSOR => Err(bad_cursor()),
            after => Ok(Self { limit, after }),
        }
    }
}

/// 400: `after` is nothing that a page has ever said.
pub fn bad_cursor() -> ApiError {
    ApiError::unreadable("after", "must be what the page before said as next")
}

/// A page.
pub fn list(items: Vec<Value>, next: Option<String>) -> Value {
    json!({ "items": items, "next": next })
}

/// The page of items that are sorted by their key: those after `page.after`.
pub fn of_sorted<'a, T: 'a>(
    all: impl Iterator<Item = &'a T>,
    page: &Page,
    key: impl Fn(&T) -> String,
    show: impl Fn(&T) -> Value,
) -> Value {
    let mut rest = all.skip_while(|item| page.after.as_ref().is_some_and(|after| key(item) <= *after)).peekable();
    let (mut items, mut last) = (Vec::new(), None);
    while items.len() < page.limit
        && let Some(item) = rest.next()
    {
        items.push(show(item));
        last = Some(key(item));
    }
    list(items, last.filter(|_| rest.peek().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let all: Vec<String> = (0..7).map(|n| format!("k{n}")).collect();
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let page = of_sorted(all.iter(), &Page { limit: 3, after }, String::clone, |k| json!(k));
            seen.extend(page["items"].as_array().expect("a list").clone());
            let Some(next) = page["next"].as_str() else { break };
            after = Some(next.to_owned());
        }
        assert_eq!(seen, all);
    }

    async fn asked(query: &str) -> Result<Page, ApiError> {
        let request = axum::http::Request::get(format!("/x?{query}")).body(()).expect("a request");
        Page::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[tokio::test]
    async fn a_range_beyond_reason_is_400_and_names_the_parameter() {
        assert_eq!(asked("").await, Ok(Page { limit: USUAL, after: None }));
        assert_eq!(asked("limit=7&after=x").await, Ok(Page { limit: 7, after: Some("x".to_owned()) }));
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("after=", "after"),
            ("frob=1", ""),
            ("limit=1&limit=2", ""),
        ] {
            let refused = asked(query).await.expect_err(query);
            assert_eq!((refused.status.as_u16(), refused.field.as_str()), (400, field), "{query}");
        }
    }
}
