//! TLS: what we show, whom we believe, and the configurations made of that.
//!
//! [`Material`] is what the files hold; a [`Secure`] is made of it and of the neighbours' names, anew at each reload:
//! connections of before keep what they were made with. [`handshake`] is how a connection begins, away from the thread
//! that carries the calls. Versions 1.2 and 1.3, by rustls with ring; sessions are resumed both ways.

pub mod certificate;
pub mod handshake;
mod verify;

use certificate::Identities;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use verify::{Anybody, Domain, is_trusted};

/// Sessions that are kept to be resumed with the servers we call.
const SESSIONS: usize = 256;

/// What `[tls]` names, read.
#[derive(Clone)]
pub struct Material {
    own: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    /// Whose our certificate is.
    pub identities: Identities,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(-)")
    }
}

/// What is wrong with a file, and which key names it.
pub type Unreadable = (&'static str, String);

impl Material {
    /// Reads the files, PEM all of them: the certificate with its chain, its key, and whom to trust (the system's roots where
    /// there is no such file).
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with its key under `[tls]`. An expired certificate is not: see [`Material::identities`].
    pub fn read(certificate: &Path, key: &Path, trust: Option<&Path>) -> Result<Self, Vec<Unreadable>> {
        let mut wrong = Vec::new();
        let mut keep = |key: &'static str, what: String| wrong.push((key, what));
        let chain = certificates(certificate).map_err(|what| keep("certificate", what)).ok();
        let key = PrivateKeyDer::from_pem_file(key).map_err(|e| keep("key", in_words(&e))).ok();
        let roots = roots(trust).map_err(|what| keep("trust", what)).ok();
        let own = chain.and_then(|chain| {
            let identities = chain.first().and_then(|first| Identities::of(first));
            if identities.is_none() {
                keep("certificate", "the file's first certificate cannot be read".to_owned());
            }
            let certified = CertifiedKey::from_der(chain, key?, &ring::default_provider());
            let certified = certified.map_err(|e| match e {
                rustls::Error::InconsistentKeys(_) => keep("key", "is not the key of the certificate".to_owned()),
                e => keep("key", format!("cannot be used: {e}")),
            });
            Some((certified.ok()?, identities?))
        });
        match (own, roots) {
            (Some((own, identities)), Some(roots)) if wrong.is_empty() => {
                Ok(Self { own: Arc::new(own), roots: Arc::new(roots), identities })
            }
            _ => Err(wrong),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(file).map_err(|e| in_words(&e))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|e| in_words(&e))?;
    if all.is_empty() { Err("the file holds no certificate in PEM".to_owned()) } else { Ok(all) }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let (_, _) = match file {
        Some(file) => store.add_parsable_certificates(certificates(file)?),
        None => store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    match file {
        Some(_) if store.is_empty() => Err("the file holds no certificate that can be trusted".to_owned()),
        _ => Ok(store),
    }
}

fn in_words(e: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match e {
        Error::Io(e) => format!("the file cannot be read: {}", e.kind()),
        Error::NoItemsFound => "the file does not hold it in PEM".to_owned(),
        e => format!("the file is no sound PEM: {e}"),
    }
}

/// Who the neighbours are by their certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The names that tell whom a connection is from, each once; a [`Flow`](crate::sip::Flow) has the place of the one that
    /// was proved, counted from 1.
    pub known: Vec<String>,
    /// The name that the server at an address must prove; elsewhere the address itself.
    pub servers: HashMap<SocketAddr, String>,
}

/// What connections begin with.
pub struct Secure {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    names: Names,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secure(-)")
    }
}

impl Secure {
    /// Of what was read. Clients are asked for a certificate only where a neighbour is known by one.
    ///
    /// # Errors
    ///
    /// rustls cannot work with it.
    pub fn new(material: &Material, names: Names) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let own = || Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&material.own)));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let server = match names.known.is_empty() {
            true => server.with_no_client_auth(),
            false => server.with_client_cert_verifier(Arc::new(Anybody(Arc::clone(&provider)))),
        };
        let mut server = server.with_cert_resolver(own());
        server.ticketer = ring::Ticketer::new()?;
        let domain = Domain { roots: Arc::clone(&material.roots), provider: Arc::clone(&provider) };
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let client = client.dangerous().with_custom_certificate_verifier(Arc::new(domain));
        let mut client = client.with_client_cert_resolver(own());
        client.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            roots: Arc::clone(&material.roots),
            names,
            provider,
        })
    }

    /// What the server at this address must prove to be.
    fn server_name(&self, at: SocketAddr) -> ServerName<'static> {
        let name = self.names.servers.get(&at).and_then(|name| ServerName::try_from(name.clone()).ok());
        name.unwrap_or_else(|| ServerName::IpAddress(at.ip().to_canonical().into()))
    }

    /// Which of the neighbours' names the server at this address proves, as [`proved`](Self::proved) counts them.
    fn name_there(&self, at: SocketAddr) -> u16 {
        let name = self.names.servers.get(&at);
        let place = name.and_then(|name| self.names.known.iter().position(|known| known == name));
        place.and_then(|place| u16::try_from(place + 1).ok()).unwrap_or(0)
    }

    /// Which of the neighbours' names these certificates prove, the first of the configuration; 0: none. A chain that nobody
    /// vouches for proves nothing.
    fn proved(&self, chain: &[CertificateDer<'_>], now: Duration) -> u16 {
        let Some((first, more)) = chain.split_first() else { return 0 };
        let now = UnixTime::since_unix_epoch(now);
        let Some(identities) = Identities::of(first).filter(|_| is_trusted(first, more, &self.roots, &self.provider, now)) else {
            return 0;
        };
        let place = self.names.known.iter().position(|name| identities.holds(name));
        place.and_then(|place| u16::try_from(place + 1).ok()).unwrap_or(0)
    }
}
