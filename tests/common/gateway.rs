//! The gateway under test, and the small world around it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::child::Child;
use super::clock::until;
use super::net::{Net, Transport};

/// The callback numbers of `carrier-a`.
pub const NUMBERS_A: &str = "+14255550100-+14255550119";
/// The callback numbers of `carrier-b`.
pub const NUMBERS_B: &str = "+12065550100-+12065550119";
/// What the gateway calls itself in From and P-Asserted-Identity.
pub const DOMAIN: &str = "gw1.example.com";

/// A trunk in the config.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// `[[trunk]] name`.
    pub name: &'static str,
    /// Where it is.
    pub at: SocketAddr,
    /// How to speak to it.
    pub transport: Transport,
    /// `callback_numbers`.
    pub numbers: String,
    /// Its `uri`, where it is none of the two above.
    pub uri: Option<String>,
    /// `sources`; none: its address.
    pub sources: Option<String>,
    /// More lines.
    pub more: String,
}

/// An agent in the config.
#[derive(Clone, Debug)]
pub struct Agent {
    /// `[[agent]] id`, and her identity at the PBX.
    pub id: String,
    /// More lines: devices, number, alternates.
    pub more: String,
}

/// A config in the making. Everything is on loopback; the state is in a folder that dies with the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[[listen]] bind` for UDP and TCP.
    pub bind: SocketAddr,
    /// Another one for TCP.
    pub bind_tcp: Option<SocketAddr>,
    /// `[[peer]] pbx`: where it is.
    pub pbx: SocketAddr,
    /// How to speak to it.
    pub pbx_transport: Transport,
    /// Its `uri`, where it is none of the two above.
    pub pbx_uri: Option<String>,
    /// `[[peer]] sources`.
    pub pbx_sources: Vec<String>,
    /// In order; each is in both voice routes.
    pub trunks: Vec<Trunk>,
    /// Agents.
    pub agents: Vec<Agent>,
    /// `[callback] desk`.
    pub desk: Option<String>,
    /// Lines for `[callback]`.
    pub callback: String,
    /// Lines for `[emergency]`.
    pub emergency: String,
    /// The pattern for ordinary calls out; none: no such route.
    pub ordinary: Option<&'static str>,
    /// `[node] threads`; otherwise as the transport of the PBX has it.
    pub threads: Option<u32>,
    /// More sections.
    pub more: String,
    /// `--time-scale`.
    pub time_scale: Option<u32>,
    /// More of its environment.
    pub env: Vec<(&'static str, String)>,
    /// Another file than the one that was built.
    pub program: Option<std::path::PathBuf>,
    /// A state directory that is not the gateway's own.
    pub state_dir: Option<std::path::PathBuf>,
}

impl Config {
    /// PBX at host 10, `carrier-a` at 21, `carrier-b` at 22, desk at 50 of the network, all at port 5060 over `transport`.
    pub fn new(net: &Net, transport: Transport) -> Self {
        let trunk = |name, host, numbers: &str| Trunk {
            name,
            at: net.sip(host),
            transport,
            numbers: numbers.to_owned(),
            uri: None,
            sources: None,
            more: String::new(),
        };
        Self {
            bind: SocketAddr::new(net.ip(1), 0),
            bind_tcp: None,
            pbx: net.sip(10),
            pbx_transport: transport,
            pbx_uri: None,
            pbx_sources: vec![net.ip(10).to_string()],
            trunks: vec![trunk("carrier-a", 21, NUMBERS_A), trunk("carrier-b", 22, NUMBERS_B)],
            agents: Vec::new(),
            desk: Some(format!("sip:desk@{};transport={}", net.sip(50), transport.name())),
            callback: String::new(),
            emergency: String::new(),
            ordinary: Some(r"^\+?1?[2-9][0-9]{9}$"),
            threads: None,
            more: String::new(),
            time_scale: None,
            env: Vec::new(),
            program: None,
            state_dir: None,
        }
    }

    /// Runs so many times faster.
    pub fn scaled(self, times: u32) -> Self {
        Self { time_scale: Some(times), ..self }
    }

    /// Adds an agent behind the PBX.
    pub fn agent(mut self, id: &str, more: &str) -> Self {
        self.agents.push(Agent { id: id.to_owned(), more: more.to_owned() });
        self
    }

    /// As TOML.
    pub fn toml(&self, state_dir: &std::path::Path) -> String {
        let mut text = String::new();
        let quoted = |list: &[String]| list.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        let put = |text: &mut String, part: std::fmt::Arguments<'_>| text.write_fmt(part).unwrap();
        put(&mut text, format_args!("[node]\nname = \"gw1\"\ndomain = \"{DOMAIN}\"\nstate_dir = \"{}\"\n", state_dir.display()));
        // Whatever the machine is, ordinary calls are tried on the front's thread and on threads of their own.
        let threads = self.threads.unwrap_or(if self.pbx_transport == Transport::Udp { 0 } else { 2 });
        put(&mut text, format_args!("threads = {threads}\n"));
        for (transport, bind) in [("udp", self.bind), ("tcp", self.bind_tcp.unwrap_or(self.bind))] {
            put(&mut text, format_args!("[[listen]]\ntransport = \"{transport}\"\nbind = \"{bind}\"\n"));
        }
        put(&mut text, format_args!("[http]\nbind = \"{}\"\n", SocketAddr::new(self.bind.ip(), 0)));
        let pbx = format!("sip:{};transport={}", self.pbx, self.pbx_transport.name());
        let pbx = self.pbx_uri.clone().unwrap_or(pbx);
        put(&mut text, format_args!("[[peer]]\nname = \"pbx\"\nuri = \"{pbx}\"\nsources = [{}]\n", quoted(&self.pbx_sources)));
        for t in &self.trunks {
            let source = if t.at.is_ipv4() { t.at.ip().to_string() } else { t.at.to_string() };
            put(&mut text, format_args!("[[trunk]]\nname = \"{}\"\npath = \"direct-routing\"\n", t.name));
            let (source, uri) = (t.sources.clone().unwrap_or(source), t.uri.clone());
            let uri = uri.unwrap_or_else(|| format!("sip:{};transport={}", t.at, t.transport.name()));
            put(&mut text, format_args!("uri = \"{uri}\"\nsources = [\"{source}\"]\n"));
            put(
                &mut text,
                format_args!("trust_marks = true\noptions = \"0s\"\ncallback_numbers = [\"{}\"]\n{}\n", t.numbers, t.more),
            );
        }
        let trunks = quoted(&self.trunks.iter().map(|t| t.name.to_owned()).collect::<Vec<_>>());
        put(
            &mut text,
            format_args!("[[voice_route]]\nname = \"emergency\"\npattern = '^\\+?911$'\ntrunks = [{trunks}]\nemergency = true\n"),
        );
        if let Some(pattern) = self.ordinary {
            put(&mut text, format_args!("[[voice_route]]\nname = \"ordinary\"\npattern = '{pattern}'\ntrunks = [{trunks}]\n"));
        }
        put(&mut text, format_args!("[routing]\ninbound = \"pbx\"\n[emergency]\nprefixes = [\"9\"]\n{}\n", self.emergency));
        let desk = self.desk.as_ref().map(|d| format!("desk = \"{d}\"\n")).unwrap_or_default();
        put(&mut text, format_args!("[callback]\n{desk}{}\n", self.callback));
        for a in &self.agents {
            put(&mut text, format_args!("[[agent]]\nid = \"{0}\"\nidentity = [\"{0}\"]\npeer = \"pbx\"\n{1}\n", a.id, a.more));
        }
        text + &self.more
    }
}

/// The running program.
pub struct Gateway {
    child: Child,
    udp: SocketAddr,
    tcp: SocketAddr,
    http: Option<SocketAddr>,
    ready: String,
    config: Config,
    dir: tempfile::TempDir,
}

impl Gateway {
    /// Starts `e911d run` and waits for its ready line.
    pub fn start(config: &Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if config.state_dir.is_none() {
            std::fs::create_dir(dir.path().join("state")).unwrap();
        }
        Self::start_in(dir, config)
    }

    /// Kills it with SIGKILL, if it is not dead yet, and starts it anew: in the same folder, at the same addresses, with
    /// this more of an environment.
    pub fn start_again(&mut self, env: &[(&'static str, String)]) {
        self.child.kill();
        let config = Config { bind: self.udp, bind_tcp: Some(self.tcp), env: env.to_vec(), ..self.config.clone() };
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        *self = Self::start_in(dir, &config);
    }

    /// What it keeps.
    pub fn state(&self) -> std::path::PathBuf {
        self.config.state_dir.clone().unwrap_or_else(|| self.dir.path().join("state"))
    }

    /// Starts it with another state directory.
    pub fn start_with_state(config: &Config, state: &std::path::Path) -> Self {
        Self::start(&Config { state_dir: Some(state.to_owned()), ..config.clone() })
    }

    fn start_in(dir: tempfile::TempDir, config: &Config) -> Self {
        let state = config.state_dir.clone().unwrap_or_else(|| dir.path().join("state"));
        let file = dir.path().join("e911d.toml");
        std::fs::write(&file, config.toml(&state)).unwrap();
        let program = config.program.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_e911d").into());
        let mut command = Command::new(program);
        command.arg("run").arg("-c").arg(&file).envs(config.env.iter().cloned());
        if let Some(times) = config.time_scale {
            command.arg("--time-scale").arg(times.to_string());
        }
        let mut child = Child::start("e911d", command);
        let ready = until("the gateway's ready line", Duration::from_secs(15), || {
            let ended = child.ended();
            let output = child.output();
            // Only whole lines: the last one may be on its way.
            let (whole, _) = output.rsplit_once('\n').unwrap_or_default();
            let line = whole.lines().find(|l| l.starts_with("ready ")).map(str::to_owned);
            assert!(line.is_some() || ended.is_none(), "e911d ended, {}:\n{output}", ended.unwrap());
            line
        });
        let address =
            |key: &str| ready.split(' ').find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse::<SocketAddr>().ok());
        let (Some(udp), Some(tcp)) = (address("udp"), address("tcp")) else { panic!("no addresses in: {ready}") };
        Self { udp, tcp, http: address("http"), ready: ready.clone(), child, config: config.clone(), dir }
    }

    /// Where it takes SIP.
    pub fn at(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Udp => self.udp,
            Transport::Tcp => self.tcp,
        }
    }

    /// Where it listens, by a word of its ready line, for example `tls`.
    pub fn bound(&self, key: &str) -> SocketAddr {
        let address = self.ready.split(' ').find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        address.unwrap_or_else(|| panic!("no {key} in: {}", self.ready))
    }

    /// Changes its config file and lets it reload.
    pub fn reload(&self, change: impl FnOnce(String) -> String) {
        let file = self.dir.path().join("e911d.toml");
        let text = change(std::fs::read_to_string(&file).unwrap());
        std::fs::write(&file, text).unwrap();
        let before = self.log().matches("config taken").count() + self.log().matches("config rejected").count();
        self.child.signal("HUP");
        until("the reload", Duration::from_secs(10), || {
            let log = self.log();
            (log.matches("config taken").count() + log.matches("config rejected").count() > before).then_some(())
        });
    }

    /// A metric's value, over HTTP; 0 where it is not there.
    pub fn metric(&self, line: &str) -> f64 {
        self.metrics().lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// All metrics, over HTTP.
    pub fn metrics(&self) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.http.expect("HTTP")).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Its config.
    pub fn config_file(&self) -> std::path::PathBuf {
        self.dir.path().join("e911d.toml")
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How long it has kept a processor busy, in hundredths of a second.
    pub fn ticks(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.child.output()
    }
}

/// A gateway with a PBX and two trunks, in a network of its own.
pub struct World {
    /// The gateway.
    pub gateway: Gateway,
    /// The network.
    pub net: Net,
    /// How everybody speaks.
    pub transport: Transport,
}

impl World {
    /// The usual one, with agents alice and bob behind the PBX.
    pub fn new(transport: Transport) -> Self {
        Self::with(transport, |_, config| config.agent("alice", "").agent("bob", ""))
    }

    /// One whose config is changed first.
    pub fn with(transport: Transport, change: impl FnOnce(&Net, Config) -> Config) -> Self {
        let net = Net::take();
        let config = change(&net, Config::new(&net, transport));
        Self { gateway: Gateway::start(&config), net, transport }
    }

    /// The gateway's address.
    pub fn at(&self) -> SocketAddr {
        self.gateway.at(self.transport)
    }

    /// The PBX's address.
    pub fn pbx(&self) -> SocketAddr {
        self.net.sip(10)
    }

    /// `carrier-a`.
    pub fn trunk_a(&self) -> SocketAddr {
        self.net.sip(21)
    }

    /// `carrier-b`.
    pub fn trunk_b(&self) -> SocketAddr {
        self.net.sip(22)
    }

    /// The desk.
    pub fn desk(&self) -> SocketAddr {
        self.net.sip(50)
    }

    /// `sip:<user>@<the gateway>`.
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.at())
    }
}
