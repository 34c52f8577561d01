//! A real DNS server, dnsmasq, that can also hang, lie and die.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use super::child::{self, Child};
use super::net::{Transport, wait_until_bound};

/// The running server.
pub struct Dnsmasq {
    child: Child,
    at: SocketAddr,
}

impl Dnsmasq {
    /// With these records, as options of dnsmasq; it knows everything of `.test` and nothing else.
    pub fn start(ip: IpAddr, records: &[String]) -> Self {
        let at = SocketAddr::new(ip, 5353);
        let mut command = Command::new(child::find("dnsmasq").expect("dnsmasq"));
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
        command.args(["--local=/test/", "--local-ttl=5", "--neg-ttl=5", "--user=", "--pid-file="]);
        command.arg(format!("--listen-address={ip}")).arg("--port=5353").args(records);
        let child = Child::start("dnsmasq", command);
        wait_until_bound(Transport::Udp, at);
        Self { child, at }
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// It takes questions and answers none, or answers again.
    pub fn hang(&self, hangs: bool) {
        self.child.signal(if hangs { "STOP" } else { "CONT" });
    }

    /// It dies and comes back with other records.
    pub fn replace(self, records: &[String]) -> Self {
        let ip = self.at.ip();
        drop(self);
        Self::start(ip, records)
    }
}
