//! What a certificate says: whose it is (RFC 5922), and from when to when.
//!
//! Whether to believe it is not asked here: see [`super`].

use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode, oid::AssociatedOid};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The identities of a certificate, and its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// The SIP domains that it is for (RFC 5922 section 7.1): those of its `sip:` URIs, else its DNS names, else, without
    /// any alternative name, its common name. Lower case.
    pub domains: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// From when it is valid, since the Unix epoch.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

impl Identities {
    /// Of a certificate in DER; `None` where it is none.
    pub fn of(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let extensions = certificate.extensions.as_deref().unwrap_or_default();
        let alternative = extensions.iter().find(|e| e.extn_id == SubjectAltName::OID);
        let names = match alternative {
            Some(extension) => SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?.0,
            None => Vec::new(),
        };
        let uris: Vec<_> = names.iter().filter_map(sip_domain).collect();
        let dns: Vec<_> = names.iter().filter_map(dns_name).collect();
        let common = || certificate.subject.0.iter().flat_map(|rdn| rdn.0.iter()).find_map(common_name);
        let domains = match (uris.is_empty(), dns.is_empty()) {
            (false, _) => uris,
            (true, false) => dns,
            (true, true) if names.is_empty() => common().into_iter().collect(),
            (true, true) => Vec::new(),
        };
        let validity = certificate.validity;
        Some(Self {
            domains,
            addresses: names.iter().filter_map(address).collect(),
            from: validity.not_before.to_unix_duration(),
            until: validity.not_after.to_unix_duration(),
        })
    }

    /// Whether it is for this domain. No wildcards (RFC 5922 section 7.2).
    pub fn holds(&self, domain: &str) -> bool {
        self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain.trim_end_matches('.')))
    }

    /// Whether it is for this host: a domain, or an address that it names as one.
    pub fn is_for(&self, host: &ServerName<'_>) -> bool {
        match host {
            ServerName::DnsName(name) => self.holds(name.as_ref()),
            ServerName::IpAddress(ip) => self.addresses.contains(&IpAddr::from(*ip)),
            _ => false,
        }
    }
}

/// `sip:example.com`: no user, and no other scheme (RFC 5922 section 7.1).
fn sip_domain(name: &GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(uri) = name else { return None };
    let (scheme, rest) = uri.as_str().split_once(':')?;
    let host = rest.split([';', '?']).next().unwrap_or_default();
    let is_domain = scheme.eq_ignore_ascii_case("sip") && !host.is_empty() && !host.contains(['@', ':']);
    is_domain.then(|| host.to_ascii_lowercase())
}

fn dns_name(name: &GeneralName) -> Option<String> {
    let GeneralName::DnsName(name) = name else { return None };
    Some(name.as_str().to_ascii_lowercase())
}

fn address(name: &GeneralName) -> Option<IpAddr> {
    let GeneralName::IpAddress(octets) = name else { return None };
    let octets = octets.as_bytes();
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn common_name(attribute: &x509_cert::attr::AttributeTypeAndValue) -> Option<String> {
    if attribute.oid != COMMON_NAME {
        return None;
    }
    let value = &attribute.value;
    let text = value
        .decode_as::<Utf8StringRef<'_>>()
        .map(|s| s.as_str().to_owned())
        .or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|s| s.as_str().to_owned()))
        .or_else(|_| value.decode_as::<TeletexStringRef<'_>>().map(|s| s.as_str().to_owned()));
    text.ok().map(|t| t.to_ascii_lowercase())
}
