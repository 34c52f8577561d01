//! Child processes that cannot outlive the test.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::Deadline;

/// Whether a program can be started. Says on the terminal what is skipped where not, and fails where
/// `E911D_REQUIRE_PEERS=1`.
pub fn is_installed(program: &str, package: &str) -> bool {
    if find(program).is_some() {
        return true;
    }
    let why = format!("{program} is not installed (apt-get install {package})");
    assert!(std::env::var_os("E911D_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{why}");
    skipped(&why);
    false
}

/// Says on the terminal that something was not tested; not captured by the test runner.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Where a program is; the folders of system programs are searched even where `PATH` lacks them.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A running program whose output is collected; killed when dropped.
pub struct Child {
    name: String,
    process: std::process::Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Child {
    /// Starts it, with stdout and stderr collected into one text.
    pub fn start(name: &str, command: Command) -> Self {
        Self::start_with(name, command, Stdio::null())
    }

    /// The same with a pipe to its stdin.
    pub fn start_talking(name: &str, command: Command) -> (Self, ChildStdin) {
        let mut child = Self::start_with(name, command, Stdio::piped());
        let stdin = child.process.stdin.take().expect("a pipe");
        (child, stdin)
    }

    fn start_with(name: &str, mut command: Command, stdin: Stdio) -> Self {
        let started = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = started.unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let output = Arc::new(Mutex::new(Vec::new()));
        collect(process.stdout.take(), &output);
        collect(process.stderr.take(), &output);
        Self { name: name.to_owned(), process, output }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Its end, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Waits for its end; `None` when it still runs after that time.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Deadline::after(within);
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if deadline.passed() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, if it is not dead yet.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self, within: Duration) -> Option<ExitStatus> {
        self.signal("TERM");
        self.wait(within)
    }

    /// Sends a signal by name, for example `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.is_ok_and(|s| s.success()), "SIG{name} to {}", self.name);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            eprintln!("--- {} said last:\n{}", self.name, tail(&output, 4000));
        }
    }
}

/// The end of a text, at most `bytes` long, on a character's boundary.
pub fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn collect(from: Option<impl Read + Send + 'static>, into: &Arc<Mutex<Vec<u8>>>) {
    let Some(mut from) = from else { return };
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..n]);
        }
    });
}
