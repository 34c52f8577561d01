//! The pages that browsers are given: `/admin` for operators, `/panel` for agents. Built from `web/`, committed, and part of the binary.
//!
//! Not the API: a page is the same for everybody, holds nobody's data and needs no token. What it shows it asks of
//! [`api`](super::api) as any other client, with the token that whoever sits there has typed or signed in for. It keeps that token in
//! sessionStorage and sends it as a header, not as a cookie: CONTRACT.md has one way to show a token, and a token that no
//! browser sends by itself cannot be borrowed by a page of somebody else's (CSRF). What a script could steal there is kept
//! safe by [`POLICY`]: only scripts of ours run, none talks to another host, and text cannot become HTML (Trusted Types).
//!
//! Read [`of`] first.

use super::api::Api;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// One file of a page.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// What `npm run build` made.
const FILES: [File; 10] = [
    File { path: "/admin", kind: HTML, bytes: include_bytes!("../../web/dist/admin/index.html") },
    File { path: "/admin/", kind: HTML, bytes: include_bytes!("../../web/dist/admin/index.html") },
    File { path: "/admin/admin.js", kind: SCRIPT, bytes: include_bytes!("../../web/dist/admin/admin.js") },
    File { path: "/admin/admin.css", kind: STYLE, bytes: include_bytes!("../../web/dist/admin/admin.css") },
    File { path: "/admin/icon.svg", kind: PICTURE, bytes: include_bytes!("../../web/dist/admin/icon.svg") },
    File { path: "/panel", kind: HTML, bytes: include_bytes!("../../web/dist/panel/index.html") },
    File { path: "/panel/", kind: HTML, bytes: include_bytes!("../../web/dist/panel/index.html") },
    File { path: "/panel/panel.js", kind: SCRIPT, bytes: include_bytes!("../../web/dist/panel/panel.js") },
    File { path: "/panel/panel.css", kind: STYLE, bytes: include_bytes!("../../web/dist/panel/panel.css") },
    File { path: "/panel/icon.svg", kind: PICTURE, bytes: include_bytes!("../../web/dist/panel/icon.svg") },
];

/// Scripts, styles and pictures of ours alone, none written into the page; no frames around it, no forms that are sent
/// elsewhere (CSP level 3), nothing inserted as HTML (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What goes with each file. It is asked for anew each time (`no-cache`) and sent only where it has changed.
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self), geolocation=(self), camera=()"),
];

/// Which build of the pages this is: a page of another one is told to load itself anew.
pub(super) fn build() -> &'static str {
    static BUILD: LazyLock<String> = LazyLock::new(|| {
        let whole = FILES.iter().fold(Sha256::new(), |whole, file| whole.chain_update(file.bytes));
        hex(&whole.finalize())
    });
    &BUILD
}

/// The files by their paths.
pub(super) fn of() -> Router<Api> {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = tag(file.bytes);
        router.route(file.path, get(move |headers: HeaderMap| async move { answer(file, &tag, &headers) }))
    })
}

fn answer(file: &'static File, tag: &str, asked: &HeaderMap) -> Response {
    let has_it = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).any(|v| names(v, tag));
    let tag = (header::ETAG, tag.to_owned());
    if has_it {
        return (StatusCode::NOT_MODIFIED, HEADERS, [tag]).into_response();
    }
    (HEADERS, [tag, (header::CONTENT_TYPE, file.kind.to_owned())], file.bytes).into_response()
}

/// RFC 9110 section 13.1.2: by weak comparison.
fn names(tags: &str, tag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|t| t.trim().trim_start_matches("W/") == tag)
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&Sha256::digest(bytes)))
}

/// As much of a hash as tells files apart.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(12).fold(String::new(), |mut hex, b| {
        let _ = write!(hex, "{b:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_a_file_is_not_sent_it_again() {
        let file = &FILES[0];
        let asked = |tags: &str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, tags.parse().expect("a header"))]);
            answer(file, &tag(file.bytes), &headers).status().as_u16()
        };
        let mine = tag(file.bytes);
        assert_eq!(asked(&mine), 304);
        assert_eq!(asked(&format!("\"other\", W/{mine}")), 304);
        assert_eq!(asked("*"), 304);
        assert_eq!(asked("\"other\""), 200);
    }

    #[test]
    fn a_page_names_its_own_files_and_has_no_script_or_style_of_its_own() {
        for page in ["/admin", "/panel"] {
            let file = FILES.iter().find(|f| f.path == page).expect("a page");
            let html = std::str::from_utf8(file.bytes).expect("UTF-8");
            for named in html.split(['"']).filter(|t| t.starts_with('/') && !t.starts_with("//")) {
                assert!(FILES.iter().any(|f| f.path == named && named.starts_with(page)), "{named}");
            }
            for inline in ["<style", "style=", "onclick", "onload", "javascript:"] {
                assert!(!html.contains(inline), "{inline}");
            }
            let own = format!("src=\"{page}{page}.js\"");
            assert!(html.split("<script").skip(1).all(|rest| rest.contains(&own)), "{html}");
        }
    }
}
