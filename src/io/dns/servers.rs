//! The DNS servers, asked by hickory-resolver. Nothing is kept here: that is the [`Keeper`](super::Keeper)'s.

use super::locate::{Ask, Naptr, Records, Srv, Unknown};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Servers that are asked.
pub(super) struct Servers(TokioResolver);

/// How long one server may take; each is asked twice.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Seconds that "there is none" holds.
const NONE_HOLDS: u32 = 60;

impl Servers {
    /// These servers; without any those of the system. `None` where the system has none.
    pub(super) fn new(servers: &[SocketAddr]) -> Option<Self> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().ok()?
        } else {
            let servers = servers.iter().map(|at| {
                let mut server = NameServerConfig::udp_and_tcp(at.ip());
                server.connections.iter_mut().for_each(|c| c.port = at.port());
                server
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options: &mut ResolverOpts = builder.options_mut();
        (options.timeout, options.attempts, options.cache_size) = (PATIENCE, 2, 0);
        builder.build().ok().map(Self)
    }

    async fn ask<T>(&self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Records<T> {
        // With a dot at its end a name is looked up as it is; one without any may be one of the system's domain.
        let name = if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() };
        match self.0.lookup(name, kind).await {
            Ok(found) => {
                let ttl = found.answers().iter().map(|r| r.ttl).min().unwrap_or(NONE_HOLDS);
                Ok((found.answers().iter().filter_map(|r| read(&r.data)).collect(), ttl))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
            {
                Ok((Vec::new(), none.negative_ttl.unwrap_or(NONE_HOLDS)))
            }
            Err(_) => Err(Unknown),
        }
    }
}

impl Ask for Servers {
    async fn naptr(&self, name: &str) -> Records<Naptr> {
        let read = |data: &RData| match data {
            RData::NAPTR(n) if n.flags.eq_ignore_ascii_case(b"s") => Some(Naptr {
                order: n.order,
                preference: n.preference,
                service: n.services.to_vec(),
                leads_to: n.replacement.to_ascii(),
            }),
            _ => None,
        };
        self.ask(name, RecordType::NAPTR, read).await
    }

    async fn srv(&self, name: &str) -> Records<Srv> {
        let read = |data: &RData| match data {
            RData::SRV(s) => Some(Srv { priority: s.priority, weight: s.weight, port: s.port, target: s.target.to_ascii() }),
            _ => None,
        };
        self.ask(name, RecordType::SRV, read).await
    }

    async fn addresses(&self, name: &str, ipv6: bool) -> Records<IpAddr> {
        let read = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(a) => Some(IpAddr::V6(a.0)),
            _ => None,
        };
        self.ask(name, if ipv6 { RecordType::AAAA } else { RecordType::A }, read).await
    }

    fn draw(&self, below: u32) -> u32 {
        let drawn = RandomState::new().build_hasher().finish() % u64::from(below.max(1));
        u32::try_from(drawn).unwrap_or(0)
    }
}
