//! The demo's config: what is written for the daemon, and shown to whoever watches.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::paint::{Look, Tone, columns};

/// Alice's own number: an ordinary call to it goes to her PBX.
pub(super) const ALICES_NUMBER: &str = "+14255550142";
/// Whom the mails go to.
pub(super) const FRONT_DESK: &str = "frontdesk@example.com";
/// The callback numbers of the trunks begin so.
pub(super) const NUMBERS: [&str; 2] = ["+1425555010", "+1206555010"];

/// Where the neighbours are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The PBX, which is the presence server as well.
    pub(super) pbx: SocketAddr,
    /// `carrier-a` and `carrier-b`.
    pub(super) carriers: [SocketAddr; 2],
    /// The mail server.
    pub(super) mailbox: SocketAddr,
    /// e911d itself: the same before and after it is killed.
    pub(super) gateway: SocketAddr,
}

/// A directory for config, state and log; removed when dropped, unless it is kept.
pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// Makes one that nobody else can read, below the system's directory for such things.
    pub(super) fn make() -> io::Result<Self> {
        let below = std::path::absolute(std::env::temp_dir())?;
        let name = |n: u32| below.join(format!("e911d-demo-{}-{n}", std::process::id()));
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        let path = (0..100).map(name).find(|path| make(path).is_ok());
        let path = path.ok_or_else(|| io::Error::other("no directory can be made below the one for temporary files"))?;
        let folder = Self { path, kept: false };
        DirBuilder::new().mode(0o700).create(folder.state())?;
        Ok(folder)
    }

    /// For the daemon's own use.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the config is.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join("e911d.toml")
    }

    /// Where the daemon's log is.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Leaves it for whoever wants to see what went wrong.
    pub(super) fn keep(&mut self) -> &Path {
        self.kept = true;
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is left to the system's own cleaning.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The config, as TOML.
pub(super) fn config(at: Addresses, state: &Path) -> String {
    let (pbx, mailbox, gateway, [a, b]) = (at.pbx, at.mailbox, at.gateway, at.carriers);
    let state = state.display();
    let [numbers_a, numbers_b] = NUMBERS.map(|n| format!("{n}0-{n}9"));
    format!(
        r#"[node]
name = "demo"
domain = "e911d.example.com"
state_dir = '{state}'

[[listen]]
transport = "udp"
bind = "{gateway}"

[http]
bind = "127.0.0.1:0"

[[peer]]             # Alice's PBX
name = "pbx"
uri = "sip:{pbx}"
sources = ["{pbx}"]

[[trunk]]
name = "carrier-a"
uri = "sip:{a}"
sources = ["{a}"]
callback_numbers = ["{numbers_a}"]
options = "0s"

[[trunk]]
name = "carrier-b"
uri = "sip:{b}"
sources = ["{b}"]
callback_numbers = ["{numbers_b}"]
trust_marks = true   # it marks a PSAP's calls
options = "0s"

[[voice_route]]      # carrier-a, else carrier-b
name = "emergency"
pattern = '^911$'
trunks = ["carrier-a", "carrier-b"]
emergency = true

[routing]
inbound = "pbx"      # ordinary calls to us

[notify]             # the contacts get mail
smtp = "smtp://{mailbox}"
from = "E911 <e911@example.com>"
site_contacts = "{FRONT_DESK}"

[presence]           # do not disturb is told here
kind = "sip-publish"
server = "sip:{pbx}"

[[agent]]
id = "alice"
name = "Alice Andersen"
identity = ["alice"]
peer = "pbx"
number = "{ALICES_NUMBER}"
"#
    )
}

/// The config for the eye: sections, keys and remarks told apart, empty lines left out, in two columns where the
/// terminal is wide enough.
pub(super) fn shown(config: &str, look: Look) -> String {
    let half = config.find("\n[[voice_route]]").unwrap_or(config.len());
    let (left, right) = config.split_at(half);
    let lines = |part: &str| part.lines().filter(|l| !l.is_empty()).map(|l| shown_line(l, look)).collect::<Vec<_>>();
    let width = |part: &str| part.lines().map(columns).max().unwrap_or(0);
    let (second, needed) = (width(left) + GUTTER, width(left) + GUTTER + width(right) + MARGIN);
    let (left_widths, left, right) = (left.lines().filter(|l| !l.is_empty()).map(columns), lines(left), lines(right));
    if needed > look.width {
        return left.iter().chain(&right).map(|line| format!("{:MARGIN$}{line}\n", "")).collect();
    }
    let rows = left.len().max(right.len());
    let left = left.into_iter().zip(left_widths).chain(std::iter::repeat((String::new(), 0)));
    let right = right.into_iter().chain(std::iter::repeat(String::new()));
    let row = |((left, width), right): ((String, usize), String)| {
        let line = format!("{:MARGIN$}{left}{:pad$}{right}", "", "", pad = second - width);
        format!("{}\n", line.trim_end())
    };
    left.zip(right).take(rows).map(row).collect()
}

const MARGIN: usize = 3;
/// Between the two columns.
const GUTTER: usize = 3;

fn shown_line(line: &str, look: Look) -> String {
    let (code, remark) = line.split_at(line.find("  #").unwrap_or(line.len()));
    let remark = look.paint(Tone::Faint, remark);
    match code.split_once(" = ") {
        Some((key, value)) => format!("{key} {} {}{remark}", look.paint(Tone::Faint, "="), look.paint(Tone::Good, value)),
        None => look.paint(Tone::Request, code) + &remark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_unless_it_is_kept() {
        use std::os::unix::fs::PermissionsExt;
        let mut folder = Folder::make().unwrap();
        let path = folder.state().parent().unwrap().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        folder.keep();
        drop(folder);
        assert!(path.is_dir());
        drop(Folder { path: path.clone(), kept: false });
        assert!(!path.exists());
    }

    #[test]
    fn the_config_is_shown_whole_but_for_its_empty_lines() {
        let look = Look { width: 80, colour: false, unicode: false };
        assert_eq!(shown("[a]   # x\nb = 1\n\nc = '  '", look), "   [a]   # x\n   b = 1\n   c = '  '\n");
        let two = shown("[a]\nb = 1\n\n[[voice_route]]\nc = 1\nd = 2\n", look);
        assert_eq!(two, "   [a]     [[voice_route]]\n   b = 1   c = 1\n           d = 2\n");
        let colours = Look { colour: true, ..look };
        assert_eq!(shown("[a]  # x", colours), "   \x1b[36m[a]\x1b[0m\x1b[2m  # x\x1b[0m\n");
    }
}
