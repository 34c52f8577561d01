//! Certificates made by openssl, and peers that speak TLS by way of it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::net::{Transport, wait_until_bound};
use super::peer::Peer;

/// A certificate authority of one test.
pub struct Authority {
    dir: tempfile::TempDir,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let authority = Self { dir: tempfile::tempdir().unwrap() };
        let usage = "keyUsage=critical,keyCertSign,digitalSignature";
        authority.openssl(&format!("req -x509 {NEW_KEY} -keyout ca.key -out ca.pem -subj /CN=Test -days 2 -addext {usage}"));
        authority
    }

    /// Its own certificate.
    pub fn roots(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for these alternative names (`DNS:a,IP:127.0.0.1,URI:sip:a`; none where empty) and this common name.
    /// It ends in so many days; below zero it has ended.
    pub fn issue(&self, common_name: &str, names: &str, days: i32) -> Issued {
        let own = tempfile::Builder::new().prefix("own").tempdir_in(self.dir.path()).unwrap().keep();
        let at = own.file_name().unwrap().to_str().unwrap().to_owned();
        let extension = if names.is_empty() { "basicConstraints=CA:FALSE".to_owned() } else { format!("subjectAltName={names}") };
        std::fs::write(own.join("ext"), extension).unwrap();
        self.openssl(&format!("req {NEW_KEY} -keyout {at}/key.pem -out {at}/csr -subj /CN={common_name}"));
        self.openssl(&format!(
            "x509 -req -in {at}/csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {at}/ext -out {at}/cert.pem"
        ));
        Issued { certificate: own.join("cert.pem"), key: own.join("key.pem") }
    }

    /// One that nobody vouches for but itself, for these alternative names.
    pub fn self_signed(&self, names: &str) -> Issued {
        let own = tempfile::Builder::new().prefix("self").tempdir_in(self.dir.path()).unwrap().keep();
        let at = own.file_name().unwrap().to_str().unwrap().to_owned();
        let extension = format!("subjectAltName={names}");
        self.openssl(&format!(
            "req -x509 {NEW_KEY} -keyout {at}/key.pem -out {at}/cert.pem -subj /CN=self -days 2 -addext {extension}"
        ));
        Issued { certificate: own.join("cert.pem"), key: own.join("key.pem") }
    }

    /// The gateway's: for its name and this address.
    pub fn of_gateway(&self, ip: IpAddr) -> Issued {
        self.issue("gw1", &format!("DNS:gw1.example.com,URI:sip:gw1.example.com,IP:{ip}"), 2)
    }

    /// The `[tls]` section for this certificate, and a listener.
    pub fn section(&self, own: &Issued, bind: SocketAddr) -> String {
        format!("{}[[listen]]\ntransport = \"tls\"\nbind = \"{bind}\"\n", self.files(own))
    }

    /// The `[tls]` section alone.
    pub fn files(&self, own: &Issued) -> String {
        format!(
            "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\ntrust = \"{}\"\n",
            own.certificate.display(),
            own.key.display(),
            self.roots().display()
        )
    }

    fn openssl(&self, words: &str) {
        let run = Command::new("openssl").args(words.split(' ')).current_dir(self.dir.path()).output().expect("openssl");
        assert!(run.status.success(), "openssl {words}:\n{}", String::from_utf8_lossy(&run.stderr));
    }
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// A running openssl; killed when dropped.
pub struct Openssl(std::process::Child);

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `openssl s_client` to the end of its input and gives all that it said.
pub fn s_client(to: SocketAddr, more: &[&str], input: &[u8]) -> String {
    use std::io::Write;
    let mut command = Command::new("timeout");
    command.args(["2", "openssl", "s_client", "-connect", &to.to_string()]).args(more);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl");
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A peer that has connected by TLS from this address, with this certificate if any.
pub fn client(from: IpAddr, to: SocketAddr, own: Option<&Issued>) -> (Peer, Openssl) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &to.to_string(), "-bind", &format!("{from}:0")]);
    if let Some(own) = own {
        command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    }
    speaking(command, SocketAddr::new(from, 5061), "tls")
}

/// A peer that waits for one TLS connection, with this certificate.
pub fn server(at: SocketAddr, own: &Issued, roots: &Path) -> (Peer, Openssl) {
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept", &at.to_string()]).arg("-CAfile").arg(roots).args(["-verify", "2"]);
    command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    let peer = speaking(command, at, "tls");
    wait_until_bound(Transport::Tcp, at);
    peer
}

/// A program's terminal is one end of a pair of sockets, the peer's connection the other.
pub fn speaking(mut command: Command, address: SocketAddr, word: &'static str) -> (Peer, Openssl) {
    let (ours, its) = UnixStream::pair().unwrap();
    let its = OwnedFd::from(its);
    command.stdin(its.try_clone().unwrap()).stdout(its).stderr(Stdio::null());
    let child = command.spawn().expect("openssl");
    (Peer::over(TcpStream::from(OwnedFd::from(ours)), address, word), Openssl(child))
}

/// How long a TLS connection may take to be refused.
pub const REFUSAL: Duration = Duration::from_secs(5);
