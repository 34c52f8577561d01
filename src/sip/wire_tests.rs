//! The wire as a whole: other people's messages, arbitrary bytes, and another reader's opinion.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;

use super::frame::{Frame, Framer, Limits, Lost};
use super::header::{self, NameAddr, Via};
use super::scan::{Message, Name};
use super::sdp;
use super::write::Writer;
use crate::words::Uri;

/// One message of the collection, with the verdict it is listed with.
struct Sample {
    name: String,
    verdict: String,
    bytes: Bytes,
}

/// The messages of the collection beside the project; none, and it is said, where the collection is absent.
fn samples() -> Vec<Sample> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata");
    let Ok(manifest) = std::fs::read_to_string(dir.join("MANIFEST.tsv")) else {
        eprintln!("SKIPPED: no collection of messages at {}", dir.display());
        return Vec::new();
    };
    manifest.lines().skip(1).filter_map(|line| sample(&dir, line)).collect()
}

fn sample(dir: &Path, line: &str) -> Option<Sample> {
    let mut columns = line.split('\t');
    let (group, file, _, verdict) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    let path: PathBuf = dir.join(group).join(file);
    let bytes = if file.ends_with(".sip") || file.ends_with(".dat") { std::fs::read(path).ok()? } else { return None };
    Some(Sample { name: format!("{group}/{file}"), verdict: verdict.to_owned(), bytes: bytes.into() })
}

/// Asks everything of a message that can be asked; whatever is answered must lie inside.
fn ask_everything(m: &Message) {
    let inside = |part: &[u8]| part.is_empty() || m.bytes().as_ptr_range().contains(&part.as_ptr());
    for h in m.headers() {
        let (field, value) = (m.field(h), m.value(h));
        assert!(inside(field) && inside(value) && inside(m.name_bytes(h)) && field.len() >= value.len());
        assert_eq!(Name::of(m.name_bytes(h)), h.name);
        let _ = (
            header::values(value).count(),
            header::unfold(value),
            header::param(value, "tag"),
            header::auth_param(value, "nonce"),
        );
        let _ = (header::token_in_list(value, "x"), header::number(value), header::seconds(value));
        let _ = Via::parse(value).map(|v| (v.branch(), v.rport(), v.received(), v.has_rport_empty()));
        let uri = NameAddr::parse(value).and_then(|n| Uri::parse(n.uri));
        let _ = uri.map(|u| (u.param("lr"), u.socket_addr(), u.is_well_formed()));
    }
    assert!(inside(m.body()) && inside(m.uri()) && inside(m.reason()) && inside(m.call_id()) && inside(m.method_bytes()));
    let _ = (m.cseq(), m.from_tag(), m.to_tag(), m.top_via(), m.max_forwards(), m.faults().describe(), format!("{m:?}"));
    let content_type = m.get(Name::ContentType).unwrap_or_default();
    let _ = (sdp::has_offer(content_type, m.body()), sdp::edit_sdp_in(content_type, m.body()));
}

/// The message written again, all fields copied but the length, which the writer makes.
fn rewritten(m: &Message) -> Message {
    let mut w =
        if m.is_request() { Writer::request(m.method_bytes(), m.uri()) } else { Writer::response(m.status(), m.reason()) };
    for h in m.headers().iter().filter(|h| h.name != Name::ContentLength) {
        w.copy(m, h);
    }
    Message::scan(w.finish_body(m.body())).expect("what the writer wrote has a start line")
}

fn assert_same(a: &Message, b: &Message, name: &str) {
    let fields = |m: &Message| -> Vec<Vec<u8>> {
        m.headers().iter().filter(|h| h.name != Name::ContentLength).map(|h| m.field(h).to_vec()).collect()
    };
    assert_eq!((a.start(), a.uri(), a.reason(), a.body()), (b.start(), b.uri(), b.reason(), b.body()), "{name}");
    assert_eq!(fields(a), fields(b), "{name}");
}

#[test]
fn messages_that_must_be_taken_have_no_fault_and_malformed_ones_have_one() {
    // What these get wrong lies above the wire: a second key line in SDP.
    let above = ["data/libosip2/sip-malformed20.sip"];
    let mut wrong = Vec::new();
    for s in samples() {
        let fault = match Message::scan(s.bytes.clone()) {
            Ok(m) => (!m.faults().is_clean()).then(|| format!("{:?}", m.faults())),
            Err(_) => Some("unreadable".to_owned()),
        };
        let want = match s.verdict.as_str() {
            "accept" | "accept-response" | "420" | "415" | "406|488|accept" | "416|404|accept" => false,
            "400" | "400-or-drop" | "drop-response" if !above.contains(&s.name.as_str()) => true,
            _ => continue,
        };
        if fault.is_some() != want {
            wrong.push((s.name, s.verdict, fault));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_message_of_the_collection_survives_all_questions_and_a_rewriting() {
    for s in samples() {
        let Ok(m) = Message::scan(s.bytes.clone()) else { continue };
        ask_everything(&m);
        if m.faults().is_clean() {
            assert_same(&m, &rewritten(&m), &s.name);
        }
    }
}

#[test]
fn another_reader_agrees_where_it_accepts_a_message() {
    let mut compared = 0;
    for s in samples() {
        let (Ok(m), Ok(theirs)) = (Message::scan(s.bytes.clone()), rsip::SipMessage::try_from(&s.bytes[..])) else { continue };
        if !m.faults().is_clean() {
            continue;
        }
        compared += agree(&m, &theirs, &s.name);
    }
    eprintln!("compared {compared} values");
}

/// How many values both readers found and agree on. The other one knows no compact names, joins no folds and takes all that
/// follows the head for the body.
fn agree(m: &Message, theirs: &rsip::SipMessage, name: &str) -> usize {
    use rsip::headers::UntypedHeader;
    use rsip::prelude::HeadersExt;
    let mut compared = 0;
    if let Ok(call_id) = theirs.call_id_header() {
        assert_eq!(m.call_id(), call_id.value().trim().as_bytes(), "{name}");
        compared += 1;
    }
    if let Some(seq) = theirs.cseq_header().ok().and_then(|c| c.seq().ok()) {
        assert_eq!(m.cseq().map(|(n, _)| n), Some(seq), "{name}");
        compared += 1;
    }
    if let Some(Some(tag)) = theirs.from_header().ok().and_then(|f| f.tag().ok()) {
        assert_eq!(m.from_tag(), Some(tag.value().as_bytes()), "{name}");
        compared += 1;
    }
    let body = match theirs {
        rsip::SipMessage::Request(r) => &r.body,
        rsip::SipMessage::Response(r) => &r.body,
    };
    assert!(body.starts_with(m.body()), "{name}");
    compared + 1
}

/// Frames of a stream that arrives in these pieces; a pong that became half a ping is no difference.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Frame, Lost>> {
    let mut framer = Framer::new(Limits { head: 2000, body: 1000 });
    let mut out = Vec::new();
    for piece in pieces {
        framer.push(piece);
        out.extend(framer.by_ref().filter(|f| *f != Ok(Frame::Pong)));
    }
    out
}

/// Lines that look like those of messages, sound and broken.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("INVITE sip:911@example.com SIP/2.0".to_owned()),
        Just("SIP/2.0 200 OK".to_owned()),
        Just("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1".to_owned()),
        Just("f: \"A, <b>\" <sip:a@b>;tag=1".to_owned()),
        Just("Content-Type: multipart/mixed;boundary=b".to_owned()),
        Just("--b".to_owned()),
        Just("o=alice 1 1 IN IP4 h".to_owned()),
        Just(String::new()),
        Just(String::new()),
        (0..40usize).prop_map(|n| format!("l: {n}")),
        (0..40usize).prop_map(|n| format!("Content-Length :\r\n {n}")),
        "[ -~]{0,30}",
        "[ \t]{0,3}[a-zA-Z-]{1,12}[ \t]{0,2}:[ -~]{0,20}",
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let eol = prop_oneof![8 => Just("\r\n"), 2 => Just("\n"), 1 => Just("\r")];
    prop::collection::vec((line(), eol), 0..30)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, eol)| (line + eol).into_bytes()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Uri::parse(&bytes).map(|u| (u.socket_addr(), u.is_well_formed(), u.param("x")));
        let _ = (sdp::anonymize(&bytes), sdp::edit_sdp_in(&bytes, &bytes), frames(bytes.chunks(7)));
        if let Ok(m) = Message::scan(bytes.into()) {
            ask_everything(&m);
        }
    }

    #[test]
    fn lines_in_any_order_never_panic(bytes in stream()) {
        let bytes = Bytes::from([b"INVITE sip:a@b SIP/2.0\r\n".to_vec(), bytes].concat());
        let m = Message::scan(bytes).expect("there is a start line");
        ask_everything(&m);
        if m.faults().is_clean() {
            assert_same(&m, &rewritten(&m), "");
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(bytes in stream(), cut in 1..50usize) {
        prop_assert_eq!(frames(bytes.chunks(cut)), frames([&bytes[..]].into_iter()));
    }

    #[test]
    fn the_scanner_finds_the_body_that_the_framer_framed(bytes in stream()) {
        for frame in frames([&bytes[..]].into_iter()) {
            let Ok(Frame::Message(bytes)) = frame else { continue };
            let m = Message::scan(bytes.clone()).expect("the framer looked at the start line");
            prop_assert!(m.bytes().ends_with(m.body()) && !m.faults().contains(super::scan::Faults::SHORT_BODY));
            prop_assert_eq!(header::number(m.get(Name::ContentLength).unwrap_or_default()), u32::try_from(m.body().len()).ok());
        }
    }

    #[test]
    fn no_line_of_a_person_is_left_in_sdp(bytes in stream()) {
        let out = sdp::anonymize(&bytes);
        for line in out.split(|c| matches!(c, b'\r' | b'\n')) {
            prop_assert!(![&b"i="[..], b"e=", b"p="].iter().any(|p| line.starts_with(p)));
            prop_assert!(!line.starts_with(b"o=") || line.starts_with(b"o=-"));
        }
        prop_assert_eq!(sdp::anonymize(&out), out);
    }

    #[test]
    fn a_written_value_never_ends_its_line(value in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut w = Writer::request(&value, &value);
        w.header("A", &value);
        let bytes = w.finish();
        prop_assert_eq!(bytes.iter().filter(|c| **c == b'\n').count(), 4);
        prop_assert_eq!(bytes.iter().filter(|c| **c == b'\r').count(), 4);
    }
}
