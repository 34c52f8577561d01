//! A bad line: a relay between the gateway and one neighbour that loses datagrams, by a seed.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The relay. The gateway knows the neighbour by the relay's outer address, the neighbour the gateway by its inner one.
pub struct BadLine {
    lost: Arc<AtomicUsize>,
    passed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl BadLine {
    /// Loses `percent` of what goes either way between `gateway`, which speaks to `outer`, and `neighbour`, which speaks to `inner`.
    pub fn start(percent: u64, seed: u64, [gateway, outer]: [SocketAddr; 2], [inner, neighbour]: [SocketAddr; 2]) -> Self {
        let line = Self { lost: Arc::default(), passed: Arc::default(), stop: Arc::default() };
        let bind = |at: SocketAddr| Arc::new(UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}")));
        let (outer, inner) = (bind(outer), bind(inner));
        line.carry(&outer, &inner, neighbour, percent, seed);
        line.carry(&inner, &outer, gateway, percent, !seed);
        line
    }

    /// How many datagrams were lost and how many arrived.
    pub fn counts(&self) -> (usize, usize) {
        (self.lost.load(Ordering::Relaxed), self.passed.load(Ordering::Relaxed))
    }

    fn carry(&self, from: &Arc<UdpSocket>, through: &Arc<UdpSocket>, to: SocketAddr, percent: u64, seed: u64) {
        let (from, through) = (Arc::clone(from), Arc::clone(through));
        let (lost, passed, stop) = (Arc::clone(&self.lost), Arc::clone(&self.passed), Arc::clone(&self.stop));
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        from.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while !stop.load(Ordering::Relaxed) {
                let Ok((n, _)) = from.recv_from(&mut buffer) else { continue };
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                if (dice >> 11) % 100 < percent {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                passed.fetch_add(1, Ordering::Relaxed);
                let _ = through.send_to(&buffer[..n], to);
            }
        });
    }
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
