//! The first look at a datagram, and that it is never sure of what the whole message denies.

use crate::world::*;
use e911d::bridge::{Classifier, Look, Shard};
use e911d::sip::{Flow, Message, Transport};
use e911d::words::Time;

fn first() -> (Shard, Classifier) {
    let shard = Shard::new(0, &setup(CONFIG, 2), Time::from_micros(1_000_000_000)).expect("a shard");
    let classifier = shard.classifier().expect("shard 0 has the story");
    (shard, classifier)
}

fn flow(from: &str) -> Flow {
    Flow { transport: Transport::Udp, listener: 0, remote: from.parse().expect("an address"), connection: 0, name: 0 }
}

#[test]
fn r3_the_source_and_the_first_lines_tell_what_a_datagram_is() {
    let (_, classifier) = first();
    let call = |from, to| invite(from, "alice", to, "c1");
    let ordinary = call(PBX, "+14551234567");
    let to = "To: <sip:+14551234567@pbx.example.net>";
    assert!(ordinary.contains(to));
    let with_to = |other: &str| ordinary.replace(to, other);
    for (from, text, want) in [
        (PBX, call(PBX, "911"), Look::Emergency),
        (PBX, call(PBX, "+1911"), Look::Emergency),
        (PBX, call(PBX, "933"), Look::Emergency),
        (PBX, call(PBX, "%39-1-1"), Look::Emergency),
        (TRUNK_A, call(TRUNK_A, "+12000000100"), Look::Callback),
        (TRUNK_A, call(TRUNK_A, "2000000100"), Look::Callback),
        (PBX, ordinary.clone(), Look::Ordinary),
        (PBX, call(PBX, "4551234567"), Look::Ordinary),
        // A callback number is a telephone number like others, unless a trunk calls it.
        (PBX, call(PBX, "+12000000100"), Look::Ordinary),
        // What a trunk calls may be named by other fields.
        (TRUNK_A, call(TRUNK_A, "+14551234567"), Look::Unknown),
        (STRANGER, call(STRANGER, "911"), Look::Unknown),
        (STRANGER, ordinary.clone(), Look::Unknown),
        (PBX, call(PBX, "alice"), Look::Unknown),
        (PBX, ordinary.replace("INVITE sip:", "INVITE tel:"), Look::Unknown),
        (PBX, ordinary.replacen(" SIP/2.0", ";gr=1 SIP/2.0", 1), Look::Unknown),
        (PBX, with_to("To: <sip:+14551234567@pbx.example.net>;tag=1"), Look::InCall),
        (PBX, with_to("t:sip:+14551234567@pbx.example.net;TAG=1"), Look::InCall),
        (PBX, with_to("To : <sip:+14551234567@pbx.example.net>;tag=1"), Look::Unknown),
        (PBX, with_to("To: <sip:+14551234567@pbx.example.net>\r\n ;tag=1"), Look::Unknown),
        (PBX, with_to("X: y"), Look::Unknown),
        (PBX, ordinary.replacen("INVITE", "BYE", 1), Look::InCall),
        (PBX, "SIP/2.0 180 Ringing\r\n\r\n".to_owned(), Look::Response),
        (PBX, "sip/2.0 180 Ringing\r\n\r\n".to_owned(), Look::Unknown),
        (PBX, "nothing\r\n\r\n".to_owned(), Look::Junk),
        (PBX, "\u{80}\0\r\n".to_owned(), Look::Junk),
        (PBX, "\r\n\r\n\r\n".to_owned(), Look::Unknown),
        (PBX, String::new(), Look::Unknown),
    ] {
        assert_eq!(classifier.first_look(flow(from), text.as_bytes()), want, "{text}");
    }
}

#[test]
fn r3_a_first_look_is_never_sure_of_what_the_whole_message_denies() {
    let (shard, classifier) = first();
    let mut sure = [0; 2];
    for (from, to) in [(PBX, "+14551234567"), (PBX, "911"), (TRUNK_A, "+12000000100"), (TRUNK_A, "+14551234567")] {
        let whole = invite(from, "alice", to, "c1").into_bytes();
        for at in 0..whole.len() {
            for byte in *b" \t\r\n;:<>@\"tTaAgG9+%=\0\xff" {
                let mut text = whole.clone();
                text[at] = byte;
                let look = classifier.first_look(flow(from), &text);
                let read = Message::scan(text.clone().into());
                match (look, &read) {
                    (Look::Junk, read) => {
                        sure[0] += 1;
                        assert!(read.is_err(), "{:?}", String::from_utf8_lossy(&text));
                    }
                    (Look::Ordinary, Ok(msg)) => {
                        sure[1] += 1;
                        let shard = classifier.shard(flow(from), msg, &shard);
                        assert_eq!((shard, msg.to_tag()), (1, None), "{:?}", String::from_utf8_lossy(&text));
                    }
                    (Look::Callback | Look::Emergency, Ok(msg)) => {
                        assert_eq!(classifier.shard(flow(from), msg, &shard), 0, "{:?}", String::from_utf8_lossy(&text));
                    }
                    (Look::Ordinary | Look::Callback | Look::Emergency, Err(_)) => panic!("{:?}", String::from_utf8_lossy(&text)),
                    (Look::Response, read) => assert!(read.as_ref().map_or(true, |msg| !msg.is_request())),
                    (Look::InCall | Look::Unknown, _) => {}
                }
            }
        }
    }
    assert!(sure[0] > 50 && sure[1] > 5_000, "{sure:?}");
}
