//! The daemon as a child process: this very program, started with `run`.
//!
//! Nothing is shared with it but the config file that it reads and the log that it writes.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Failure;
use crate::io::clock;

/// The running daemon; it does not outlive this value.
pub(super) struct Child {
    process: std::process::Child,
    config: PathBuf,
    log: PathBuf,
    /// How often it was started.
    starts: usize,
}

const STARTS_WITHIN: Duration = Duration::from_secs(8);
const STOPS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What of the environment is meant for a daemon that somebody else runs.
const NOT_FOR_IT: &[&str] = &["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "RUST_LOG"];

impl Child {
    /// Starts it with that config. Its log goes to that file.
    pub(super) fn start(config: &Path, log: PathBuf) -> io::Result<Self> {
        Ok(Self { process: launch(config, &log)?, config: config.to_owned(), log, starts: 1 })
    }

    /// Kills it with SIGKILL and starts it again.
    pub(super) fn kill_and_start(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = launch(&self.config, &self.log)?;
        self.starts += 1;
        Ok(())
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its ready line; gives back where it takes SIP over UDP.
    pub(super) fn ready(&mut self, is_interrupted: impl Fn() -> bool) -> Result<SocketAddr, Failure> {
        let began = clock::now();
        while clock::now().since(began) < STARTS_WITHIN {
            if let Some(at) = udp_of_ready_line(&self.log(), self.starts) {
                return Ok(at);
            }
            if is_interrupted() {
                return Err(Failure::Interrupted);
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(Failure::Daemon(format!("it ended before it was ready: {status}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(Failure::Daemon(format!("it was not ready after {} s", STARTS_WITHIN.as_secs())))
    }

    /// Asks it to stop (SIGTERM) and waits; `false` where it did not stop by itself in time, or not well.
    pub(super) fn stop(&mut self) -> bool {
        let began = clock::now();
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            // An error says that it is gone already, which is seen below.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        while clock::now().since(began) < STOPS_WITHIN {
            match self.process.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => std::thread::sleep(LOOK_AGAIN),
                Err(_) => return false,
            }
        }
        false
    }

    /// Everything that it has written.
    pub(super) fn log(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(config: &Path, log: &Path) -> io::Result<std::process::Child> {
    let output = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").arg("--strict").arg("-c").arg(config);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let overrides = std::env::vars_os().map(|(name, _)| name).filter(|n| n.to_string_lossy().starts_with("E911D_"));
    for name in overrides.chain(NOT_FOR_IT.iter().map(Into::into)) {
        command.env_remove(name);
    }
    command.spawn()
}

/// What the daemon said when it was started for the `start`th time; CONTRACT "The program": `ready node=gw1 udp=127.0.0.1:5060 …`. A line that is not finished does not count.
fn udp_of_ready_line(log: &str, start: usize) -> Option<SocketAddr> {
    let line = log.split_inclusive('\n').filter(|l| l.starts_with("ready ") && l.ends_with('\n')).nth(start.checked_sub(1)?)?;
    line.split_whitespace().find_map(|word| word.strip_prefix("udp=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_counts_when_it_is_whole() {
        let at = Some(SocketAddr::from(([127, 0, 0, 1], 5060)));
        for (log, want) in [
            ("", None),
            ("INFO ready udp=127.0.0.1:1\n", None),
            ("ready node=gw1 udp=127.0.0.1:50", None),
            ("x\nready node=gw1 udp=127.0.0.1:5060 http=127.0.0.1:8911\ny", at),
        ] {
            assert_eq!(udp_of_ready_line(log, 1), want, "{log}");
            assert_eq!(udp_of_ready_line(log, 2), None, "{log}");
        }
        assert_eq!(udp_of_ready_line("ready udp=127.0.0.1:1\nx\nready udp=127.0.0.1:5060\n", 2), at);
    }
}
