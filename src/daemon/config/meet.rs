//! Where audio that passes by cannot meet, and where keys can be read on their way: [`lint`].

use std::net::{IpAddr, Ipv6Addr};

use super::address::Transport;
use super::lint::Findings;
use super::model::Config;
use crate::bridge::{MediaPolicy, Srtp};

/// A trunk at a public address and a peer at a private one, or of the other address family, whose audio goes through nobody: each
/// is told an address that it cannot reach. A network may translate or route what looks so; hence a warning.
pub(super) fn lint(config: &Config, found: &mut Findings) {
    let trunks = config.trunks.iter().enumerate().map(|(i, t)| (format!("trunk[{i}].srtp"), &t.name, t.media.srtp, &t.target));
    let peers = config.peers.iter().enumerate().map(|(i, p)| (format!("peer[{i}].srtp"), &p.name, p.media.srtp, &p.target));
    for (key, name, srtp, target) in trunks.chain(peers) {
        if srtp != Srtp::Off && target.transport != Transport::Tls {
            let what =
                format!("the keys of \"{name}\" go by SIP without TLS: whoever is on the way can read them, and then the audio");
            found.warn(key, what);
        }
    }
    let anchors = trunks_and_peers(config).chain([config.media.phones]).any(|policy| policy.anchor);
    let is_named = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
    let goes_by_a_name = config.listen.iter().any(|l| l.public.as_ref().is_some_and(|public| is_named(&public.host)));
    if anchors && goes_by_a_name && config.media.public.is_none() && config.media.bind.is_unspecified() {
        let what = "is not set, and a listener goes by a name: session descriptions tell this machine's own address, which others cannot reach behind a NAT";
        found.warn("media.public", what);
    }
    for (i, trunk) in config.trunks.iter().enumerate().filter(|(_, t)| !t.media.anchor && t.target.name.is_none()) {
        let out = trunk.target.address.ip();
        for peer in config.peers.iter().filter(|p| !p.media.anchor && p.target.name.is_none()) {
            let inside = peer.target.address.ip();
            let why = match (reach(inside), reach(out)) {
                _ if inside.is_ipv4() != out.is_ipv4() => "speaks another address family",
                (Reach::Private, Reach::Public) => "is at a private address, the trunk at a public one",
                (Reach::Public, Reach::Private) => "is at a public address, the trunk at a private one",
                (Reach::Loopback, Reach::Public | Reach::Private) => "is on this machine, the trunk is not",
                _ => continue,
            };
            let what = format!(
                "audio passes by, and peer \"{}\" {why}: they may not hear each other; write media = \"anchor\", unless the network carries it",
                peer.name
            );
            found.warn(format!("trunk[{i}].media"), what);
        }
        let phones = config.agents.iter().any(|a| a.password.is_some());
        if phones && reach(out) == Reach::Public && !config.media.phones.anchor {
            let what = format!(
                "audio passes by, and phones that register here may be behind a NAT while trunk \"{}\" is public",
                trunk.name
            );
            found.note("media.phones", what);
        }
    }
}

fn trunks_and_peers(config: &Config) -> impl Iterator<Item = MediaPolicy> {
    config.trunks.iter().map(|t| t.media).chain(config.peers.iter().map(|p| p.media))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Loopback,
    Private,
    Public,
}

fn reach(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Reach::Loopback,
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // RFC 6598: between a carrier and its customers.
            let shared = a == 100 && (64..128).contains(&b);
            if v4.is_private() || v4.is_link_local() || shared { Reach::Private } else { Reach::Public }
        }
        IpAddr::V6(v6) if is_local(v6) => Reach::Private,
        IpAddr::V6(_) => Reach::Public,
    }
}

/// RFC 4193 and link-local addresses.
const fn is_local(ip: Ipv6Addr) -> bool {
    let [first, ..] = ip.segments();
    first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::super::{Weight, lint, read};
    use std::path::Path;

    fn warnings(peer: &str, trunk: &str, more: &str) -> Vec<String> {
        let text = format!(
            "[node]\nstate_dir = \"/tmp\"\n[[listen]]\ntransport = \"udp\"\nbind = \"0.0.0.0:5060\"\n[[listen]]\ntransport = \"udp\"\n\
             bind = \"[::]:5061\"\n[[peer]]\nname = \"pbx\"\nuri = \"sip:{peer}\"\n[[trunk]]\nname = \"a\"\nuri = \"sip:{trunk}\"\n\
             callback_numbers = [\"+14255550100\"]\n{more}\n[[voice_route]]\nname = \"all\"\npattern = '^911$'\ntrunks = [\"a\"]\n"
        );
        let config = read(&text, Path::new("meet.toml"), std::iter::empty()).unwrap_or_else(|m| panic!("{m}"));
        let found = lint(&config).into_iter().filter(|f| f.weight == Weight::Warning && f.key.ends_with(".media"));
        found.map(|f| f.what).collect()
    }

    #[test]
    fn a_listener_that_goes_by_a_name_does_not_say_what_to_tell() {
        for (public, media, warned) in [
            ("sip.example.com:5060", "", true),
            ("203.0.113.7:5060", "", false),
            ("sip.example.com:5060", "[media]\npublic = \"203.0.113.7\"\n", false),
        ] {
            let text = format!(
                "[node]\nstate_dir = \"/tmp\"\n[[listen]]\ntransport = \"udp\"\nbind = \"0.0.0.0:5060\"\npublic = \"{public}\"\n[[trunk]]\n\
                 name = \"a\"\nuri = \"sip:192.0.2.9\"\nmedia = \"anchor\"\ncallback_numbers = [\"+14255550100\"]\n\
                 [[voice_route]]\nname = \"all\"\npattern = '^911$'\ntrunks = [\"a\"]\n{media}"
            );
            let config = read(&text, Path::new("named.toml"), std::iter::empty()).unwrap_or_else(|m| panic!("{m}"));
            assert_eq!(lint(&config).iter().any(|f| f.key == "media.public"), warned, "{public} {media}");
        }
    }

    #[test]
    fn keys_that_can_be_read_on_their_way_are_warned_of() {
        for (srtp, warned) in [("offer", true), ("require", true), ("off", false)] {
            let text = format!(
                "[node]\nstate_dir = \"/tmp\"\n[[listen]]\ntransport = \"udp\"\nbind = \"0.0.0.0:5060\"\n[[trunk]]\nname = \"a\"\n\
                 uri = \"sip:10.0.0.9\"\nmedia = \"anchor\"\nsrtp = \"{srtp}\"\ncallback_numbers = [\"+14255550100\"]\n\
                 [[voice_route]]\nname = \"all\"\npattern = '^911$'\ntrunks = [\"a\"]\n"
            );
            let config = read(&text, Path::new("keys.toml"), std::iter::empty()).unwrap_or_else(|m| panic!("{m}"));
            assert_eq!(lint(&config).iter().any(|f| f.what.contains("can read them")), warned, "{srtp}");
        }
    }

    #[test]
    fn audio_that_cannot_meet_is_warned_of_unless_it_goes_through_us() {
        for (peer, trunk, meets) in [
            ("10.0.0.5", "192.0.2.10", false),
            ("192.168.1.5", "[2001:db8::10]", false),
            ("100.64.0.5", "203.0.113.4", false),
            ("203.0.113.4", "10.0.0.5", false),
            ("127.0.0.1:5080", "192.0.2.10", false),
            ("10.0.0.5", "10.1.2.3", true),
            ("203.0.113.4", "192.0.2.10", true),
            ("[fd00::1]", "[fd00::2]", true),
            ("127.0.0.1:5080", "127.0.0.2", true),
        ] {
            assert_eq!(warnings(peer, trunk, "").is_empty(), meets, "{peer} {trunk}");
            assert!(warnings(peer, trunk, "media = \"anchor\"").is_empty(), "{peer} {trunk}");
        }
    }
}
