//! The doors of the API: `admin.sock`, and HTTP on TCP.
//!
//! Each door serves so many connections at once, and each has its own number of them, so that whoever fills the one leaves the other open. Runs on the side thread;
//! no call waits for it.

use super::api::auth::Door;
use axum::{Extension, Router};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::{Gid, Mode};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;

/// Connections of one door at once; more wait.
const CONNECTIONS: usize = 64;
/// The same for TCP, where each agent's page may have one for its events.
const CONNECTIONS_BY_TCP: usize = 1024;
/// How long a connection may take to say what it wants, also between two requests; and to take anything of an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a request's head may hold, and what is read ahead of a body, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;
/// After an error of the system's (too many files, say).
const PAUSE: Duration = Duration::from_millis(100);
/// Who may open the socket besides us, where the system knows it.
const GROUP: &str = "e911d";

/// Where the admin socket is.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("admin.sock")
}

/// Opens the admin socket: mode 0660, group `e911d` where there is one. What a dead daemon left there is replaced.
///
/// # Errors
///
/// The directory cannot be written, or another daemon answers there (`AddrInUse`).
pub fn open_socket(state_dir: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let path = socket_path(state_dir);
    match std::fs::symlink_metadata(&path) {
        Ok(there) if !there.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(&path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(&path)?,
        Err(_) => {}
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let opened = std::os::unix::net::UnixListener::bind(&path);
    rustix::process::umask(before);
    let listener = opened?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    if let Some(group) = group_id(GROUP) {
        // Fails where we are not in it; then it is ours alone.
        let _ = rustix::fs::chown(&path, None, Some(group));
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn group_id(name: &str) -> Option<Gid> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let mut fields = groups.lines().find(|l| l.split(':').next() == Some(name))?.split(':');
    fields.nth(2)?.parse().ok().map(Gid::from_raw)
}

/// Serves TCP for ever.
pub async fn tcp(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_BY_TCP));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let connection = connection(stream, router.clone(), Door::Tcp(from));
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Serves the admin socket for ever.
pub async fn socket(listener: UnixListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), Door::Socket);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// One connection to its end. What goes wrong on it is the other side's business.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, door: Door) {
    let service = TowerToHyperService::new(router.layer(Extension(door)));
    // Whoever reads nothing of an answer would have a place for ever.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(PATIENCE));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .with_upgrades();
    let _ = served.await;
}

/// The TCP connection that has become something else than HTTP, and what was read of it ahead. It is another handle of it:
/// whoever takes it is free of the thread that served HTTP.
pub fn of_connection(upgraded: Upgraded) -> Option<(std::net::TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Pin<Box<TimeoutWriter<TcpStream>>>>>().ok()?;
    let socket = parts.io.inner().get_ref().as_fd().try_clone_to_owned().ok()?;
    Some((socket.into(), parts.read_buf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(open_socket(dir.path()).expect("a socket"));
        let listener = open_socket(dir.path()).expect("a socket in place of the dead one");
        assert_eq!(open_socket(dir.path()).expect_err("it lives").kind(), io::ErrorKind::AddrInUse);
        let mode = std::fs::metadata(socket_path(dir.path())).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(listener);
    }

    #[test]
    fn b3_where_no_socket_can_be_made_that_is_an_error_and_no_file_of_others_is_touched() {
        assert!(open_socket(Path::new("/nonexistent/e911d")).is_err());
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(socket_path(dir.path()), "mine").expect("written");
        assert!(open_socket(dir.path()).is_err());
        assert_eq!(std::fs::read_to_string(socket_path(dir.path())).expect("still there"), "mine");
    }
}
