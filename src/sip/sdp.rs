//! SDP in bodies: finding it, and taking the caller's own marks out of it.
//!
//! Not a media engine: an answer is never made here, and every byte that is not named by RULES L8 stays as it was.
//! Bodies are looked into as far as `application/sdp` and `multipart/*` go (RFC 2046 section 5.1, RFC 5621); others are
//! opaque.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::sip::header;
use crate::sip::scan::{Name, body_start, field};

/// How deep multiparts are followed.
const DEEPEST: usize = 6;

/// RULES L8: the user of `o=` becomes `-`; the lines `i=`, `e=` and `p=` go; everything else stays byte for byte, line ends
/// too.
pub fn anonymize(sdp: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(sdp.len() + 1);
    put_anonymized(&mut out, sdp);
    out.freeze()
}

/// The session description in a body: the body itself, or the first `application/sdp` part of a multipart, at any
/// depth. A body without Content-Type that begins like SDP is one.
pub fn sdp_part<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    sdp_ranges(content_type, body).into_iter().find_map(|r| body.get(r))
}

/// The location document in a body: the body itself, or the first `application/pidf+xml` part of a multipart, at any depth
/// (RFC 4119, RFC 6442).
pub fn pidf_part<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    let mut found = Ranges::new();
    find(content_type, body, 0..body.len(), DEEPEST, b"pidf+xml", &mut found);
    found.into_iter().find_map(|r| body.get(r))
}

/// Whether the body brings an offer or answer: SDP that is more than blank.
pub fn has_offer(content_type: &[u8], body: &[u8]) -> bool {
    sdp_part(content_type, body).is_some_and(|sdp| !sdp.trim_ascii().is_empty())
}

/// The body with every session description in it anonymized (see [`anonymize`]); all other bytes of a multipart are
/// unchanged.
pub fn edit_sdp_in(content_type: &[u8], body: &[u8]) -> Bytes {
    edit_each(content_type, body, put_anonymized)
}

/// The body with every session description in it replaced; all other bytes of a multipart are unchanged.
pub fn replace_sdp_in(content_type: &[u8], body: &[u8], mut by: impl FnMut(&[u8]) -> Bytes) -> Bytes {
    edit_each(content_type, body, |out, sdp| out.put_slice(&by(sdp)))
}

fn edit_each(content_type: &[u8], body: &[u8], mut put: impl FnMut(&mut BytesMut, &[u8])) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 1);
    let mut at = 0;
    for range in sdp_ranges(content_type, body) {
        out.put_slice(body.get(at..range.start).unwrap_or_default());
        put(&mut out, body.get(range.clone()).unwrap_or_default());
        at = range.end;
    }
    out.put_slice(body.get(at..).unwrap_or_default());
    out.freeze()
}

fn put_anonymized(out: &mut BytesMut, sdp: &[u8]) {
    let mut rest = sdp;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(line_len(rest));
        match line {
            [b'i' | b'e' | b'p', b'=', ..] => {}
            [b'o', b'=', origin @ ..] => {
                let user = origin.iter().position(u8::is_ascii_whitespace).unwrap_or(origin.len());
                out.put_slice(b"o=-");
                out.put_slice(origin.get(user..).unwrap_or_default());
            }
            _ => out.put_slice(line),
        }
        rest = after;
    }
}

/// The length of the first line with its end. A bare CR ends a line as well: some readers see it so, and what must not
/// be seen must not hide behind it.
pub(super) fn line_len(b: &[u8]) -> usize {
    match memchr::memchr2(b'\r', b'\n', b) {
        Some(i) if b.get(i..i + 2) == Some(b"\r\n") => i + 2,
        Some(i) => i + 1,
        None => b.len(),
    }
}

type Ranges = SmallVec<[Range<usize>; 2]>;

/// Where the session descriptions of a body stand, in their order.
fn sdp_ranges(content_type: &[u8], body: &[u8]) -> Ranges {
    let mut found = Ranges::new();
    let content_type = if content_type.is_empty() && body.starts_with(b"v=") { b"application/sdp" } else { content_type };
    find(content_type, body, 0..body.len(), DEEPEST, b"sdp", &mut found);
    found
}

/// Where the parts of type `application/<sub>` stand.
fn find(content_type: &[u8], body: &[u8], range: Range<usize>, depth: usize, sub: &[u8], found: &mut Ranges) {
    let media_type = content_type.split(|&c| c == b';').next().unwrap_or_default().trim_ascii();
    if is_media_type(media_type, b"application", Some(sub)) {
        found.push(range);
    } else if depth > 0 && is_media_type(media_type, b"multipart", None) {
        let Some(boundary) = boundary(content_type) else { return };
        for part in parts(body, range, &boundary) {
            let (content_type, inside) = open_part(body, part);
            find(content_type, body, inside, depth - 1, sub, found);
        }
    }
}

/// Whether a media type is `main/sub`, any case, blanks around the slash let through; `None` stands for any subtype.
fn is_media_type(media_type: &[u8], main: &[u8], sub: Option<&[u8]>) -> bool {
    let Some(slash) = memchr::memchr(b'/', media_type) else { return false };
    let (a, b) = media_type.split_at(slash);
    let b = b.get(1..).unwrap_or_default().trim_ascii();
    a.trim_ascii().eq_ignore_ascii_case(main) && sub.is_none_or(|sub| b.eq_ignore_ascii_case(sub))
}

/// The delimiter of a multipart without its hyphens, quotes and escapes resolved. It may begin with a blank, but not end
/// with one (RFC 2046 section 5.1.1).
fn boundary(content_type: &[u8]) -> Option<SmallVec<[u8; 96]>> {
    let (_, params) = content_type.split_at(memchr::memchr(b';', content_type)?);
    let (_, raw) = header::params_of(params).find(|(key, _)| key.eq_ignore_ascii_case(b"boundary"))?;
    let Some(quoted) = raw.strip_prefix(b"\"") else {
        return (!raw.is_empty()).then(|| SmallVec::from_slice(raw));
    };
    let mut out = SmallVec::new();
    let mut bytes = quoted.iter();
    while let Some(&c) = bytes.next() {
        match c {
            b'"' => break,
            b'\\' => out.extend(bytes.next().copied()),
            _ => out.push(c),
        }
    }
    out.truncate(out.trim_ascii_end().len());
    (!out.is_empty()).then_some(out)
}

/// The parts between the delimiter lines. Without a closing one the last part goes to the end.
fn parts<'a>(body: &'a [u8], range: Range<usize>, boundary: &'a [u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    let mut open: Option<usize> = None;
    let mut done = false;
    std::iter::from_fn(move || {
        while !done {
            let line = body.get(at..range.end).unwrap_or_default();
            if line.is_empty() {
                done = true;
                return open.map(|start| start..range.end);
            }
            let here = at;
            at += memchr::memchr(b'\n', line).map_or(line.len(), |i| i + 1);
            let Some(delimiter) = delimiter(body.get(here..at).unwrap_or_default(), boundary) else { continue };
            done = delimiter == Delimiter::Close;
            let start = std::mem::replace(&mut open, (!done).then_some(at));
            if let Some(start) = start {
                return Some(start..before_line_end(body, start, here));
            }
        }
        None
    })
}

#[derive(PartialEq, Eq)]
enum Delimiter {
    Next,
    Close,
}

/// Whether a line is the delimiter: hyphens, boundary, two hyphens more at the last one, then nothing but blanks.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<Delimiter> {
    let rest = line.strip_prefix(b"--")?;
    // Some senders write the blank of an unquoted ` boundary=` into the delimiter.
    let rest = rest.strip_prefix(boundary).or_else(|| rest.trim_ascii_start().strip_prefix(boundary))?;
    match rest.trim_ascii() {
        b"" => Some(Delimiter::Next),
        b"--" => Some(Delimiter::Close),
        _ => None,
    }
}

/// The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
fn before_line_end(body: &[u8], start: usize, here: usize) -> usize {
    let part = body.get(start..here).unwrap_or_default();
    let part = part.strip_suffix(b"\n").map_or(part, |p| p.strip_suffix(b"\r").unwrap_or(p));
    start + part.len()
}

/// The Content-Type of a part, and where its content stands.
fn open_part(body: &[u8], part: Range<usize>) -> (&[u8], Range<usize>) {
    let bytes = body.get(part.clone()).unwrap_or_default();
    let mut content_type: &[u8] = b"text/plain";
    let mut at = 0;
    while at < bytes.len() {
        if let Some(content) = body_start(bytes, at) {
            return (content_type, part.start + content..part.end);
        }
        let (name, value, next) = field(bytes, at);
        if name == Name::ContentType {
            content_type = value;
        }
        at = next;
    }
    (content_type, part.end..part.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=alice 1 2 IN IP4 10.0.0.1\r\ns=-\r\ni=Alice's call\r\ne=alice@example.com (Alice)\r\np=+1 425\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\ni=desk\r\na=i=stays\r\n";
    const ANON: &str =
        "v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=i=stays\r\n";

    #[test]
    fn l8_the_sdp_loses_its_user_and_its_personal_lines_and_nothing_else() {
        assert_eq!(anonymize(SDP.as_bytes()), ANON);
        assert_eq!(anonymize(SDP.replace("\r\n", "\n").as_bytes()), ANON.replace("\r\n", "\n"));
        for (sdp, want) in [
            ("", ""),
            ("o=alice", "o=-"),
            ("o=alice\r\n", "o=-\r\n"),
            ("o=- 1 2 IN IP4 h\r\n", "o=- 1 2 IN IP4 h\r\n"),
            ("s=x\ri=secret\rt=0 0\r", "s=x\rt=0 0\r"),
            ("i=last line without end", ""),
            ("a=x\r\n\r\nb=1", "a=x\r\n\r\nb=1"),
        ] {
            assert_eq!(anonymize(sdp.as_bytes()), want, "{sdp:?}");
        }
    }

    fn nested(eol: &str) -> String {
        format!(
            "preamble\r\n--outer\r\nContent-Type: multipart/alternative;\r\n boundary=\"outer-in\"\r\n\r\n--outer-in\r\n\r\nplain\r\n\
             --outer-in  \r\nC: Application/SDP ; x=y\r\nContent-Disposition: session\r\n\r\n{SDP}\r\n--outer-in--\r\n\r\n\
             --outer\r\nContent-Type: application/pidf+xml\r\n\r\n<i=1/>\r\no=alice x\r\n--outer--\r\ni=epilogue\r\n"
        )
        .replace("\r\n", eol)
    }

    #[test]
    fn l8_the_sdp_is_edited_wherever_it_is_and_the_other_parts_are_untouched() {
        for eol in ["\r\n", "\n"] {
            let (body, sdp, anon) = (nested(eol), SDP.replace("\r\n", eol), ANON.replace("\r\n", eol));
            let content_type = b"Multipart/Mixed;boundary=outer";
            assert_eq!(sdp_part(content_type, body.as_bytes()), Some(sdp.as_bytes()), "{eol:?}");
            assert_eq!(edit_sdp_in(content_type, body.as_bytes()), body.replace(&sdp, &anon), "{eol:?}");
        }
    }

    #[test]
    fn a_boundary_may_be_quoted_begin_with_a_blank_or_never_close() {
        for (content_type, delimiter) in [
            ("multipart/mixed; boundary=b", "--b"),
            ("multipart/mixed;boundary=\" b 1\"", "-- b 1"),
            ("multipart/mixed; boundary= b", "-- b"),
            ("multipart/mixed; BOUNDARY = \"b;\\\"1\"; x=y", "--b;\"1"),
            ("multipart/mixed;\r\n boundary=b", "--b"),
            ("multipart / mixed;boundary=\"b \"", "--b"),
        ] {
            for close in ["--", ""] {
                let body = format!("{delimiter}\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n{delimiter}{close}\r\n");
                assert_eq!(sdp_part(content_type.as_bytes(), body.as_bytes()), Some(&b"v=0"[..]), "{content_type} {close}");
            }
            let open = format!("{delimiter}\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n");
            assert_eq!(sdp_part(content_type.as_bytes(), open.as_bytes()), Some(&b"v=0\r\n"[..]), "{content_type}");
        }
    }

    #[test]
    fn a_body_of_another_type_is_opaque() {
        for content_type in
            ["application/isup", "application/sdpx", "multipart/mixed", "multipart/mixed;boundary=", "text/plain", "x"]
        {
            assert_eq!(sdp_part(content_type.as_bytes(), SDP.as_bytes()), None, "{content_type}");
            assert_eq!(edit_sdp_in(content_type.as_bytes(), SDP.as_bytes()), SDP, "{content_type}");
        }
        assert!(has_offer(b"application/SDP;charset=x", SDP.as_bytes()) && has_offer(b"", SDP.as_bytes()));
        assert!(!has_offer(b"application/sdp", b" \r\n") && !has_offer(b"", b"") && !has_offer(b"text/plain", b"v=0"));
    }

    #[test]
    fn multiparts_are_not_followed_without_end() {
        let mut body = String::from("v=0\r\n");
        for i in 0..20 {
            let inner = if i == 0 { "application/sdp".to_owned() } else { format!("multipart/mixed;boundary=b{}", i - 1) };
            body = format!("--b{i}\r\nContent-Type: {inner}\r\n\r\n{body}\r\n--b{i}--\r\n");
        }
        assert_eq!(sdp_part(b"multipart/mixed;boundary=b19", body.as_bytes()), None);
    }
}
