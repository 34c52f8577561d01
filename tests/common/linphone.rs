//! Another real phone: Linphone's console, with an account at the gateway, steered by what is typed into it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use super::baresip::Answer;
use super::child::Child;
use super::clock::until;
use super::net::Transport;

/// The running phone.
pub struct Linphone {
    child: Child,
    keyboard: ChildStdin,
    /// How much of its output was read.
    read: usize,
    at: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Linphone {
    /// Starts a phone at `ip` that registers as `user` with a password, and waits until it has.
    pub fn register(ip: IpAddr, (user, password): (&str, &str), at: SocketAddr, transport: Transport, answer: Answer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in [".local/share/linphone", ".config/linphone"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let transport = transport.name();
        let (udp, tcp) = if transport == "udp" { (5060, 0) } else { (0, 5060) };
        let config = format!(
            "[sip]\nsip_port={udp}\nsip_tcp_port={tcp}\nsip_tls_port=0\nbind_address={ip}\ndefault_proxy=0\nguess_hostname=0\n\
             contact=<sip:{user}@{ip}>\n\
             [auth_info_0]\nusername={user}\npasswd={password}\nrealm={}\n\
             [proxy_0]\nreg_proxy=<sip:{at};transport={transport}>\nreg_route=<sip:{at};transport={transport};lr>\n\
             reg_identity=<sip:{user}@{at}>\nreg_expires=120\nreg_sendregister=1\npublish=0\n",
            super::gateway::DOMAIN
        );
        let file = dir.path().join("linphonerc");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("linphonec");
        command.current_dir(dir.path()).env("HOME", dir.path()).arg("-c").arg(&file);
        if answer == Answer::Auto {
            command.arg("-a");
        }
        let (child, keyboard) = Child::start_talking(&format!("linphone {user}"), command);
        let mut phone = Self { child, keyboard, read: 0, at, _dir: dir };
        phone.say("soundcard use files");
        until("Linphone registers", Duration::from_secs(15), || {
            phone.say("status register");
            phone.child.output().contains("registered, identity=").then_some(())
        });
        phone
    }

    /// Dials.
    pub fn dial(&mut self, user: &str) {
        let at = self.at;
        self.say(&format!("call sip:{user}@{at}"));
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.say("terminate all");
    }

    /// Waits until it says this, and takes it and all before it.
    pub fn until(&mut self, words: &str, within: Duration) {
        self.read = until(&format!("Linphone says {words:?}"), within, || {
            let output = self.child.output();
            output.get(self.read..)?.find(words).map(|at| self.read + at + words.len())
        });
    }

    fn say(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
        self.keyboard.flush().unwrap();
    }
}
