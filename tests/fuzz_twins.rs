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
    }
}
