//! `[tls]`: the files it names are read with the configuration, so that what is wrong with them stands at their line.

use super::address::SipTarget;
use super::lint::Findings;
use super::mistake::Notebook;
use super::model::{Config, Tls};
use super::read::absolute_path;
use super::section::Section;
use crate::io::transport::tls::Material;
use crate::io::transport::tls::certificate::Identities;
use std::sync::Arc;
use std::time::Duration;

/// A certificate that has no longer than this to live is pointed out.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What becomes of files that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They are mistakes.
    Required,
    /// There is no TLS then. For a start with what was accepted once: the calls that need no TLS still go out.
    Optional,
}

/// Reads the section, if it is there.
pub(super) fn tls(mut s: Section<'_>, is_there: bool, files: Files) -> Option<Tls> {
    if !is_there {
        return None;
    }
    let (certificate, key) = (s.required("certificate", absolute_path), s.required("key", absolute_path));
    let trust = s.read("trust", absolute_path);
    let material = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Material::read(certificate, key, trust.as_deref()),
        _ => Err(Vec::new()),
    };
    let material = match material {
        Ok(material) => Some(Arc::new(material)),
        Err(_) if files == Files::Optional => None,
        Err(wrong) => {
            wrong.into_iter().for_each(|(key, what)| s.note(key, what));
            None
        }
    };
    s.finish();
    Some(Tls { material })
}

/// Listeners and neighbours that speak TLS need the section.
pub(super) fn is_there_where_needed(config: &Config, notes: &Notebook) {
    if config.tls.is_some() {
        return;
    }
    let what = "needs a [tls] section with certificate and key";
    for (i, _) in config.listen.iter().enumerate().filter(|(_, l)| l.transport.is_secure()) {
        notes.note(&format!("listen[{i}].transport"), what);
    }
    let targets = |section: &str, all: Vec<&SipTarget>| {
        for (i, _) in all.iter().enumerate().filter(|(_, t)| t.transport.is_secure()) {
            notes.note(&format!("{section}[{i}].uri"), what);
        }
    };
    targets("peer", config.peers.iter().map(|p| &p.target).collect());
    targets("trunk", config.trunks.iter().map(|t| &t.target).collect());
}

/// Certificate names count on TLS connections only, which somebody must be able to make.
pub(super) fn names_can_be_proved(config: &Config, notes: &Notebook) {
    let listens = config.listen.iter().any(|l| l.transport.is_secure());
    let proofs = |target: &SipTarget, names: &[String]| if target.transport.is_secure() { names.len() } else { 0 };
    let peers =
        config.peers.iter().map(|p| proofs(&p.target, &p.certificate_names)).enumerate().map(|(i, n)| (format!("peer[{i}]"), n));
    let trunks = config
        .trunks
        .iter()
        .map(|t| proofs(&t.target, &t.certificate_names))
        .enumerate()
        .map(|(i, n)| (format!("trunk[{i}]"), n));
    for (key, _) in peers.chain(trunks).filter(|(_, n)| *n > 0 && !listens) {
        notes.note(&format!("{key}.sources"), "names a certificate, and no [[listen]] has transport tls; add one");
    }
}

/// What is wrong with our own certificate and keeps nobody from starting: a call that needs no TLS still goes out.
pub(super) fn lint(config: &Config, now: Duration, found: &mut Findings) {
    let Some(tls) = &config.tls else { return };
    let Some(material) = &tls.material else {
        return found.warn("tls", "the files cannot be read: there is no TLS until they can");
    };
    let hosts = config.listen.iter().filter(|l| l.transport.is_secure()).filter_map(|l| l.public.as_ref());
    let hosts: Vec<&str> = std::iter::once(config.node.domain.as_str()).chain(hosts.map(|h| h.host.as_str())).collect();
    for what in about(&material.identities, &hosts, now) {
        found.warn("tls.certificate", what);
    }
}

/// What to say of a certificate that shall be for these hosts.
pub(super) fn about(own: &Identities, hosts: &[&str], now: Duration) -> Vec<String> {
    let mut found = Vec::new();
    if now > own.until {
        found.push("has expired: neighbours and phones will refuse it; renew it and reload".to_owned());
    } else if now + SOON > own.until {
        found.push(format!("expires in {} days; renew it and reload", (own.until - now).as_secs() / 86_400));
    }
    if now < own.from {
        found.push("is not valid yet: neighbours and phones will refuse it until then".to_owned());
    }
    let is_for = |host: &str| match host.trim_matches(['[', ']']).parse() {
        Ok(address) => own.addresses.contains(&address),
        Err(_) => own.holds(host),
    };
    if !hosts.iter().any(|host| is_for(host)) {
        found.push("is neither for node.domain nor for the public host of a TLS listener: neighbours may refuse it".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_lacks_is_said_in_words() {
        let day = |n: u64| Duration::from_secs(n * 86_400);
        let own = Identities {
            domains: vec!["gw1.example.com".to_owned()],
            addresses: vec![[10, 0, 0, 1].into()],
            from: day(100),
            until: day(200),
        };
        for (host, now, want) in [
            ("gw1.example.com", day(150), None),
            ("GW1.example.com", day(150), None),
            ("10.0.0.1", day(150), None),
            ("gw2.example.com", day(150), Some("neither for")),
            ("10.0.0.2", day(150), Some("neither for")),
            ("gw1.example.com", day(99), Some("not valid yet")),
            ("gw1.example.com", day(190), Some("expires in 10 days")),
            ("gw1.example.com", day(201), Some("has expired")),
        ] {
            let found = about(&own, &[host], now);
            assert_eq!(found.len(), usize::from(want.is_some()), "{host} {found:?}");
            assert!(want.is_none_or(|w| found[0].contains(w)), "{host} {found:?}");
        }
    }
}
