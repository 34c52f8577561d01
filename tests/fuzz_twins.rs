//! The fuzz targets' checks over random input, for machines without a fuzzer: quick, and the same every time they find
//! something (`PROPTEST_CASES` says how much). What a fuzzer has found stands here as a test of its own.

#[path = "../fuzz/checks.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets share it")]
mod checks;

mod common;

use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces of messages, well-formed and not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "INVITE sip:911@h SIP/2.0\r\n",
        "INVITE sip:+12065550100@h SIP/2.0\r\n",
        "OPTIONS sip:a@[::1]:5060;lr SIP/2.0\r\n",
        "BYE urn:service:sos SIP/2.0\n",
        "SIP/2.0 200 OK\r\n",
        "Via: SIP/2.0/UDP 127.0.0.1:15090;branch=z9hG4bK1;rport\r\n",
        "v: SIP / 2.0 /TCP [::1] ;branch = z9\r\n , SIP/2.0/UDP h\r\n",
        "From: \"A \\\"B\" <sip:bob@h>;tag=1\r\n",
        "f: sip:a@b;tag=\"x\r\n",
        "To: <sip:911@h>\r\n",
        "t: sip:a@b;tag=2\r\n",
        "Call-ID: 1@h\r\n",
        "CSeq: 1 INVITE\r\n",
        "CSeq: 2 BYE\r\n",
        "Contact: <sip:bob@127.0.0.1:15090>\r\n",
        "m: *, sip:x\r\n",
        "Content-Type: application/sdp\r\n",
        "Content-Type: multipart/mixed;boundary=\" b\"\r\n",
        "l: 3\r\n",
        "Content-Length : 0\r\n",
        "Require: 100rel\r\nRSeq: 1\r\n",
        "Priority: psap-callback\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "v=0\r\no=a 1 1 IN IP4 h\r\ni=x\r\n",
        "m=audio 4000 RTP/AVP 0\r\n",
        "m=audio  5/2 RTP/SAVP 0\n",
        "m=video 6 RTP/AVP 31\r\n",
        "c=IN IP4 192.0.2.7\r\n",
        "c=IN IP4 0.0.0.0\r\n",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n",
        "a=rtcp:4 IN IP4 192.0.2.8\r\n",
        "a=ice-lite\r",
        "-- b\r\n",
        "-- b--\r\n",
        "sip:",
        "@",
        ";",
        "<",
        ">",
        ",",
        "\"",
        "%39",
        ":",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(|w| w.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..6),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

/// An INVITE or OPTIONS that is sound but for what stands between.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let uri =
        proptest::sample::select(vec!["sip:911@h", "urn:service:sos", "sip:+12065550100@h", "sip:+12000000100@h", "tel:911"]);
    let method = proptest::sample::select(vec!["INVITE", "INVITE", "OPTIONS", "BYE", "CANCEL"]);
    (method, uri, 0..3u8, text()).prop_map(|(method, uri, id, more)| {
        let head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:15090;branch=z9hG4bK{id}\r\nFrom: <sip:bob@h>;tag=1\r\nTo: <{uri}>\r\n\
             Call-ID: {id}\r\nCSeq: 1 {method}\r\nContact: <sip:bob@127.0.0.1:15090>\r\n"
        );
        [head.into_bytes(), more].concat()
    })
}

/// A list of steps as [`checks::shard`] reads it.
fn play() -> impl Strategy<Value = Vec<u8>> {
    let step = prop_oneof![
        2 => (0..5u8, request()).prop_map(|(source, bytes)| [vec![0, source], bytes].concat()),
        1 => (0..5u8, text()).prop_map(|(source, bytes)| [vec![0, source], bytes].concat()),
        1 => (0..8u8).prop_map(|wait| vec![1, wait]),
        3 => (0..3u8, 0..20u8, any::<u8>()).prop_map(|(nth, status, style)| vec![2, nth, status, style]),
        3 => (0..3u8, 0..11u8, any::<u8>()).prop_map(|(nth, method, style)| vec![4, nth, method, style]),
        1 => (6..8u8, 0..4u8).prop_map(|(op, nth)| vec![op, nth]),
    ];
    vec(step, 1..24).prop_map(|steps| steps.join(&[0xff, 0xfe][..]))
}

fn behind(first: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<u8>> {
    (first, text()).prop_map(|(first, rest)| [vec![first], rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn b7_the_scanner_reads_whatever_comes(data in prop_oneof![text(), request()]) {
        checks::scanner(&data);
    }

    #[test]
    fn b7_a_stream_gives_the_same_frames_however_it_is_cut(data in behind(1..40u8)) {
        checks::framer(&data);
    }

    #[test]
    fn b7_values_are_read_whatever_they_are(data in text()) {
        checks::uri(&data);
    }

    #[test]
    fn b7_sdp_is_edited_once_and_for_all(data in behind(0..40u8)) {
        checks::sdp(&data);
    }

    #[test]
    fn r3_a_first_look_agrees_with_the_whole_message(data in (0..3u8, prop_oneof![text(), request()])) {
        checks::first_look(&[&[data.0], &data.1[..]].concat());
    }

    #[test]
    fn b7_a_shard_lives_on_whatever_neighbours_and_strangers_say(data in play()) {
        checks::shard(&data);
    }
}

#[test]
fn b7_the_test_data_itself_breaks_nothing() {
    for sample in common::testdata::samples() {
        checks::scanner(&sample.bytes);
        checks::framer(&[&[7], &sample.bytes[..]].concat());
        checks::uri(&sample.bytes);
        checks::sdp(&[&[0], &sample.bytes[..]].concat());
        checks::shard(&sample.bytes);
        checks::first_look(&[&[0], &sample.bytes[..]].concat());
    }
}

/// What a first look must not be taken in by: written over, put between, and put between lines.
const BYTES: &[u8] = b" \t\r\n;:<>@\"tToOaAgG9+%=\0\xff";
const LINES: [&str; 12] = [
    "t: <sip:x@h>;tag=1\r\n",
    "To: <sip:+14255550123@h>\r\n",
    "To : \"a <b> c\" <sip:x@h>;TAG=1\r\n",
    "TO:sip:x@h;tag=1\n",
    "T: <sip:a>b;tag=1>\r\n",
    "To: \"<>\" sip:x@h;tag=1\r\n",
    "X: y\r\n\tTo: <sip:x@h>\r\n",
    "\r\n",
    " ;tag=1\r\n",
    "\t\r\n",
    "Topic: a\r\n",
    "v=0\r\nt=0 0\r\n",
];
const STARTS: [&str; 10] = [
    "INVITE sip:911@gw.example.net SIP/2.0\r\n",
    "INVITE sip:9-1-1@gw.example.net;user=phone SIP/2.0\r\n",
    "INVITE sip:911;x@gw SIP/2.0\r\n",
    "INVITE sip:+14255550123@gw.example.net:5060;user=phone SIP/2.0\r\n",
    "INVITE sip:4255550123@gw SIP/2.0\r\n",
    "INVITE sip:14255550123@gw;gr=x SIP/2.0\r\n",
    "INVITE sip:+12000000100@127.0.0.1:15060 SIP/2.0\r\n",
    "INVITE sip:2000000201@127.0.0.1:15060;transport=udp SIP/2.0\r\n",
    "INVITE tel:911 SIP/2.0\r\n",
    "BYE sip:+14255550123@gw.example.net SIP/2.0\r\n",
];

#[test]
fn r3_a_first_look_at_what_was_a_real_message_agrees_with_the_whole_of_it() {
    let own = |start: &&str| {
        format!(
            "{start}Via: SIP/2.0/UDP 127.0.0.1:15090;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\nFrom: \"A\" <sip:a@h>;tag=1\r\n\
             To: <sip:+14255550123@gw.example.net;user=phone>\r\nCall-ID: 1@pbx.example.com\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@127.0.0.1:15090>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let real = common::testdata::samples().into_iter().map(|sample| sample.bytes).filter(|bytes| bytes.len() < 4_000);
    let texts: Vec<Vec<u8>> = STARTS.iter().map(|start| own(start).into_bytes()).cycle().take(300).chain(real).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..100_000 {
        let mut data = vec![random.below(3) as u8];
        data.extend(&texts[random.below(texts.len())]);
        for _ in 0..=random.below(3) {
            random.mutate(&mut data);
        }
        *seen.entry(format!("{:?}", checks::first_look(&data))).or_insert(0) += 1;
    }
    let kinds = ["Callback", "Emergency", "InCall", "Junk", "Ordinary", "Response", "Unknown"];
    assert!(kinds.iter().all(|kind| seen.get(*kind).is_some_and(|n| *n > 300)), "{seen:?}");
}

/// xorshift64, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// Changes what follows the first byte, most of all in the first lines.
    fn mutate(&mut self, data: &mut Vec<u8>) {
        let far = if self.below(4) == 0 { data.len() } else { data.len().min(400) };
        let at = 1 + self.below(far);
        let line = data.iter().skip(at).position(|b| *b == b'\n').map_or(data.len(), |lf| at + lf + 1);
        let byte = BYTES[self.below(BYTES.len())];
        match self.below(6) {
            0 => data.get_mut(at).into_iter().for_each(|b| *b = byte),
            1 => data.insert(at.min(data.len()), byte),
            2 => drop(data.drain(at.min(data.len())..(at + self.below(4)).min(data.len()))),
            3 => drop(data.splice(line..line, LINES[self.below(LINES.len())].bytes())),
            4 => drop(data.splice(at.min(data.len())..line, [])),
            _ => {
                let first = data.iter().position(|b| *b == b'\n').map_or(data.len(), |lf| lf + 1);
                drop(data.splice(1.min(first)..first, STARTS[self.below(STARTS.len())].bytes()));
            }
        }
    }
}
