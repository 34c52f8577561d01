//! STUN on a SIP port, as far as keep-alives of phones need it (RFC 5626 sections 3.5.2 and 8, RFC 5389).
//!
//! A phone asks where its datagrams seem to come from; whatever lies between keeps the way open for the answer, and the phone
//! sees when it has become another one. Nothing is kept and nothing is believed: [`answer`] is all there is.

use bytes::{BufMut, Bytes, BytesMut};
use std::net::{IpAddr, SocketAddr};

/// RFC 5389 section 6.
const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
/// RFC 5389 section 15.2.
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Larger ones ask for what a keep-alive does not: the answer is never much larger than the question.
const LARGEST: usize = 548;

/// The answer to a Binding request from there; `None` where the datagram is none.
pub fn answer(datagram: &[u8], from: SocketAddr) -> Option<Bytes> {
    // The first two bits tell STUN from SIP.
    if datagram.first().is_none_or(|b| *b > 3) || !(HEADER..=LARGEST).contains(&datagram.len()) {
        return None;
    }
    let number = |at: usize| Some(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?));
    let is_whole = number(2).is_some_and(|n| usize::from(n) + HEADER == datagram.len() && n % 4 == 0);
    let id = datagram.get(4..HEADER)?;
    if number(0)? != BINDING_REQUEST || !is_whole || !id.starts_with(&COOKIE.to_be_bytes()) {
        return None;
    }
    let (ip, port) = (from.ip().to_canonical(), from.port() ^ (COOKIE >> 16) as u16);
    let mut out = BytesMut::with_capacity(HEADER + 24);
    let octets: &[u8] = match &ip {
        IpAddr::V4(v4) => &v4.octets(),
        IpAddr::V6(v6) => &v6.octets(),
    };
    let length = 4 + octets.len() as u16;
    out.put_u16(BINDING_SUCCESS);
    out.put_u16(4 + length);
    out.put_slice(id);
    out.put_u16(XOR_MAPPED_ADDRESS);
    out.put_u16(length);
    out.put_u16(if ip.is_ipv4() { 1 } else { 2 });
    out.put_u16(port);
    out.extend(octets.iter().zip(id).map(|(octet, key)| octet ^ key));
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 5769 section 2.1, without its attributes.
    const REQUEST: [u8; 20] =
        [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    #[test]
    fn the_addresses_of_rfc_5769_come_out_and_ids_are_repeated() {
        for (from, mapped) in [
            ("192.0.2.1:32853", &[0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43][..]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                &[
                    0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9,
                    0xd9,
                ],
            ),
        ] {
            let answer = answer(&REQUEST, from.parse().expect("an address")).expect("an answer");
            assert_eq!(answer[..2], [1, 1]);
            assert_eq!(usize::from(answer[3]) + 20, answer.len());
            assert_eq!((&answer[4..20], &answer[20..22], &answer[24..]), (&REQUEST[4..], &[0, 0x20][..], mapped));
        }
    }

    #[test]
    fn what_is_no_binding_request_is_not_answered() {
        let from = "192.0.2.1:1".parse().expect("an address");
        for at in [0, 1, 2, 3, 4] {
            let mut other = REQUEST;
            other[at] ^= 0x11;
            assert!(answer(&other, from).is_none(), "{at}");
        }
        assert!(
            answer(&REQUEST[..19], from).is_none()
                && answer(b"", from).is_none()
                && answer(b"OPTIONS sip:x SIP/2.0", from).is_none()
        );
    }
}
