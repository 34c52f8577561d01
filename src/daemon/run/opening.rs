//! What the daemon opens before it runs: listeners, the store, the doors of the API; and what its parts are told of the
//! configuration. Nothing runs here yet.

use crate::bridge::ports_in;
use crate::daemon::assemble::Assembled;
use crate::daemon::config::{self, Config, Listen};
use crate::daemon::handover::Inheritance;
use crate::daemon::serve;
use crate::daemon::side::{Cause, SideSender, Status, ToSide};
use crate::emergency::facts::Side;
use crate::io::clock;
use crate::io::media;
use crate::io::media::relay::browser::Identity;
use crate::io::media::relay::{self, Relay};
use crate::io::notifier;
use crate::io::notifier::post::Hook;
use crate::io::notifier::smtp::Smtp;
use crate::io::notifier::states::Listeners;
use crate::io::notifier::template::Language;
use crate::io::store::{Opened, sqlite};
use crate::io::transport::stream::Listener;
use crate::io::transport::tls::Secure;
use crate::io::transport::udp::Port;
use crate::words::{Private, Saved, Table};
use axum::Router;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tracing::{info, warn};

/// No name and number is kept for longer than that after its lease (RULES A7): nor are damaged databases.
const LONGEST_QUARANTINE: Duration = Duration::from_secs(24 * 60 * 60);

/// A disk that has not made `admin.sock` after that is not waited for.
const NO_SIGN: Duration = Duration::from_secs(1);
/// Between two attempts to make `admin.sock` while the daemon runs.
const SOCKET_AGAIN: Duration = Duration::from_secs(3);

/// What was opened for `[[listen]]`, in its order.
pub(super) struct Bound {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) udp: Vec<Option<Arc<Port>>>,
    pub(super) streams: Vec<Listener>,
}

impl Bound {
    pub(super) fn open(listen: &[Listen], inheritance: &mut Inheritance) -> Result<Self, Failure> {
        let mut bound = Self { addresses: Vec::new(), udp: Vec::new(), streams: Vec::new() };
        for (place, listen) in (0u8..).zip(listen) {
            bound
                .add(place, listen, inheritance)
                .map_err(|e| Failure::socket(&format!("[[listen]] {} {}", listen.transport, listen.bind), &e))?;
        }
        Ok(bound)
    }

    fn add(&mut self, place: u8, listen: &Listen, inheritance: &mut Inheritance) -> io::Result<()> {
        match listen.transport {
            config::Transport::Udp => {
                let port = inheritance.udp(listen.bind, place).map_or_else(|| Port::listen(listen.bind, place), Ok)?;
                self.addresses.push(port.address()?);
                self.udp.push(Some(Arc::new(port)));
            }
            _ => {
                let transport = crate::daemon::assemble::transport(listen.transport);
                let inherited = inheritance.stream(super::successor::asked(listen), place, transport);
                let listener = inherited.map_or_else(|| Listener::listen(listen.bind, place, transport), Ok)?;
                self.addresses.push(listener.address()?);
                self.udp.push(None);
                self.streams.push(listener.for_pages_of(&listen.origins));
            }
        }
        Ok(())
    }
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Socket(String),
    #[error(transparent)]
    Unusable(#[from] crate::daemon::assemble::Unusable),
    #[error("notify.smtp: {0}")]
    Mail(#[from] notifier::server::BadServer),
    #[error("[tls]: {0}")]
    Tls(#[from] rustls::Error),
    #[error("a webhook: {0}")]
    Hook(#[from] notifier::post::BadUrl),
    #[error(transparent)]
    Numbers(#[from] crate::pool::PoolError),
    #[error(transparent)]
    Store(#[from] sqlite::Taken),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Failure {
    pub(super) fn socket(whose: &str, e: &io::Error) -> Self {
        Self::Socket(match e.kind() {
            io::ErrorKind::AddrInUse => format!("{whose}: address in use: is another e911d running?"),
            io::ErrorKind::AddrNotAvailable => format!("{whose}: this machine does not have that address"),
            io::ErrorKind::PermissionDenied => format!("{whose}: not allowed: ports below 1024 need CAP_NET_BIND_SERVICE"),
            _ => format!("{whose}: {e}"),
        })
    }
}

/// What TLS connections begin with, made anew of the files as they are now.
pub(super) fn secure(config: &Config, assembled: &Assembled) -> Result<Option<Arc<Secure>>, rustls::Error> {
    for finding in config::lint(config).iter().filter(|f| f.key.starts_with("tls")) {
        warn!(event = "[tls]", %finding);
    }
    let material = config.tls.as_ref().and_then(|tls| tls.material.as_ref());
    material.map(|m| Secure::new(m, assembled.names.clone()).map(Arc::new)).transpose()
}

/// What keeps leases. A new kind of store is an arm here.
pub(super) fn open_store(config: &Config, status: &Arc<Status>, heir: bool) -> Result<Opened, Failure> {
    let status = Arc::clone(status);
    let store_failed = move |failed| status.set_alarm_for(Cause::Keeping, "store_failed", failed);
    let keep_damaged = LONGEST_QUARANTINE / config.time_scale;
    let open = if heir { sqlite::inherit } else { sqlite::open };
    Ok(open(&config.node.state_dir, &clock::boot_id(), keep_damaged, Box::new(store_failed))?)
}

/// Where audio of ours leaves from.
pub(super) fn media_settings(config: &Config) -> media::Settings {
    let config::Media { bind, public, ports, .. } = config.media;
    media::Settings { bind, public, ports, language: language(config) }
}

/// How audio is relayed.
pub(super) fn relay_settings(config: &Config) -> relay::Settings {
    let config::Media { bind, ports, learn, silence, .. } = config.media;
    relay::Settings { bind, ports, learn, silence }
}

/// Starts the relays; what they report is a line of the log.
pub(super) fn start_relay(config: &Config, identity: Option<Identity>, saved: &Saved, side: &SideSender) -> Relay {
    let claimed = saved.rows(Table::Call).flat_map(|(_, row)| ports_in(row)).collect::<Vec<_>>();
    let side = side.clone();
    let report = move |call, event| side.send(ToSide::Effect(Side::Log { event, call, trunk: None }));
    Relay::start(relay_settings(config), identity, claimed, Box::new(report))
}

/// How the contacts are told.
pub(super) fn notifier_settings(config: &Config) -> Result<notifier::Settings, Failure> {
    let smtp = match (&config.notify.smtp, &config.notify.from) {
        (Some(url), Some(from)) => Some(Arc::new(Smtp::new(url.reveal(), from.reveal(), &config.node.domain)?)),
        _ => None,
    };
    let webhook = hook(config.notify.webhook.as_ref())?;
    let pace = notifier::Pace::default().faster(config.time_scale);
    Ok(notifier::Settings { smtp, webhook, language: language(config), pace })
}

const fn language(config: &Config) -> Language {
    match config.node.language {
        config::Language::English => Language::English,
        config::Language::Spanish => Language::Spanish,
        config::Language::French => Language::French,
    }
}

/// Who is told of alarms and presence.
pub(super) fn listeners_of(config: &Config) -> Result<Listeners, Failure> {
    let presence = match &config.presence.kind {
        config::PresenceKind::Webhook(url) => hook(Some(url))?,
        config::PresenceKind::None | config::PresenceKind::SipPublish(_) => None,
    };
    Ok(Listeners { alarms: hook(config.notify.alarm_url.as_ref())?, presence, times: config.time_scale })
}

fn hook(url: Option<&Private<String>>) -> Result<Option<Arc<Hook>>, Failure> {
    Ok(url.map(|url| Hook::new(url.reveal())).transpose()?.map(Arc::new))
}

/// Contacts that are no addresses, by their place alone (RULES A4); `check` shows what stands there.
pub(super) fn report_contacts(config: &Config) {
    let site = [("notify.site_contacts".to_owned(), &config.notify.site_contacts)];
    let test = [("notify.test_contacts".to_owned(), &config.notify.test_contacts)];
    let agents = config.agents.iter().enumerate().map(|(i, a)| (format!("agent[{i}].contacts"), &a.contacts));
    for (key, contacts) in site.into_iter().chain(test).chain(agents).filter(|(_, c)| !c.rejected.is_empty()) {
        let entries: Vec<_> = contacts.rejected.iter().map(|(place, _)| *place).collect();
        warn!(event = "contacts that are no addresses are left out", key, count = entries.len(), ?entries);
    }
}

/// Where the API is served.
pub(super) struct Doors {
    pub(super) web: TcpListener,
    pub(super) admin: Option<UnixListener>,
    pub(super) state_dir: PathBuf,
    pub(super) router: Router,
}

impl Doors {
    /// Serves, as tasks of this thread.
    pub(super) fn open(self) {
        if let Ok(web) = tokio::net::TcpListener::from_std(self.web) {
            tokio::spawn(serve::tcp(web, self.router.clone()));
        }
        match self.admin.map(tokio::net::UnixListener::from_std) {
            Some(Ok(admin)) => tokio::spawn(serve::socket(admin, self.router)),
            _ => tokio::spawn(serve_once_it_can_be_made(self.state_dir, self.router)),
        };
    }
}

/// The admin socket, once the state directory takes one (RULES B3).
async fn serve_once_it_can_be_made(state_dir: PathBuf, router: Router) {
    loop {
        tokio::time::sleep(SOCKET_AGAIN).await;
        let dir = state_dir.clone();
        let opened = tokio::task::spawn_blocking(move || serve::open_socket(&dir)).await;
        if let Ok(Ok(Ok(admin))) = opened.map(|opened| opened.map(tokio::net::UnixListener::from_std)) {
            info!(event = "admin.sock is there");
            return serve::socket(admin, router).await;
        }
    }
}

/// Calls go on where there is none (RULES B3): a disk that hangs is not waited for either.
pub(super) fn open_admin_socket(state_dir: &Path) -> Option<UnixListener> {
    let dir = state_dir.to_owned();
    let (opened, answer) = mpsc::channel();
    let open = move || {
        // Where it cannot be made the next line says so.
        let _ = std::fs::create_dir(&dir);
        let _ = opened.send(serve::open_socket(&dir));
    };
    let begun = thread::Builder::new().name("socket".to_owned()).spawn(open);
    let opened = begun.and_then(|_| answer.recv_timeout(NO_SIGN).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
    opened.inspect_err(|e| warn!(event = "no admin.sock yet: commands reach this daemon by --url only", reason = %e.kind())).ok()
}
