//! The thread that speaks: one packet of 20 ms for each voice when it is due.
//!
//! It owns the sockets. A voice ends when it is told to, when it has spoken for [`LONGEST`], or when nobody has said for
//! [`UNHEARD`] where to speak to; its socket is closed then.

use super::prompts::Script;
use super::{LONGEST, Place};
use crate::emergency::facts::CallId;
use crate::io::clock;
use crate::words::Time;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Samples in a packet, and how long they last.
const SAMPLES: usize = 160;
const PACE: Duration = Duration::from_millis(20);
/// A thread that was held up longer than this does not catch up: nobody could hear it.
const LATE: Duration = Duration::from_millis(200);
/// How long a voice waits for being told where to speak. An answer that nobody acknowledges is given up after 32 s (RFC 3261
/// timer H).
const UNHEARD: Duration = Duration::from_secs(40);
/// The fixed part of a packet (RFC 3550 section 5.1).
const HEADER: usize = 12;

/// What the thread is told.
pub(super) enum Order {
    Open { call: CallId, voice: Box<Voice> },
    Speak { call: CallId, to: SocketAddr, payload: u8 },
    Close { call: CallId },
}

/// One voice.
pub(super) struct Voice {
    socket: UdpSocket,
    samples: Box<dyn Iterator<Item = u8> + Send>,
    to: Option<(SocketAddr, u8)>,
    /// When the next packet is due; before there is anybody to hear it, when it gives up.
    due: Option<Time>,
    /// When it ends whatever is left.
    ends: Option<Time>,
    first: bool,
    sequence: u16,
    stamp: u32,
    source: [u8; 4],
    _place: Place,
}

impl Voice {
    pub(super) fn new(socket: UdpSocket, script: &Script, place: Place) -> Self {
        // RFC 3550 section 5.1: all three begin at random.
        let random = RandomState::new().build_hasher().finish().to_be_bytes();
        let [a, b, c, d, e, f, g, h] = random;
        Self {
            socket,
            samples: Box::new(script.samples()),
            to: None,
            due: None,
            ends: None,
            first: true,
            sequence: u16::from_be_bytes([a, b]) & 0x7fff,
            stamp: u32::from_be_bytes([c, d, a, b]),
            source: [e, f, g, h],
            _place: place,
        }
    }

    /// From here on, or on from where it is.
    fn speak(&mut self, to: SocketAddr, payload: u8, now: Time) {
        if self.to.is_none() {
            (self.due, self.ends) = (Some(now), Some(now + LONGEST));
        }
        self.to = Some((to, payload));
    }

    /// Sends what is due; false once it has nothing more to say.
    fn turn(&mut self, now: Time) -> bool {
        let due = *self.due.get_or_insert(now + UNHEARD);
        if due > now {
            return true;
        }
        let Some((to, payload)) = self.to else { return false };
        let mut packet = [0xff; HEADER + SAMPLES];
        let mut spoken = 0;
        for (place, sample) in packet.iter_mut().skip(HEADER).zip(self.samples.by_ref()) {
            (*place, spoken) = (sample, spoken + 1);
        }
        if spoken == 0 || self.ends.is_some_and(|ends| ends <= now) {
            return false;
        }
        self.head(&mut packet, payload);
        // A packet that cannot be sent is one that got lost.
        let _ = self.socket.send_to(&packet, to);
        let next = due + PACE;
        self.due = Some(if now.since(next) > LATE { now + PACE } else { next });
        true
    }

    fn head(&mut self, packet: &mut [u8; HEADER + SAMPLES], payload: u8) {
        let marker = if std::mem::take(&mut self.first) { 0x80 } else { 0 };
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.stamp.to_be_bytes();
        let [a, b, c, d] = self.source;
        let head = [0x80, marker | (payload & 0x7f), s0, s1, t0, t1, t2, t3, a, b, c, d];
        for (place, byte) in packet.iter_mut().zip(head) {
            *place = byte;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.stamp = self.stamp.wrapping_add(SAMPLES as u32);
    }
}

/// Runs until nobody can give orders any more.
pub(super) fn run(orders: &Receiver<Order>) {
    let mut voices: BTreeMap<CallId, Box<Voice>> = BTreeMap::new();
    loop {
        let now = clock::now();
        voices.retain(|_, voice| voice.turn(now));
        let next = voices.values().filter_map(|v| v.due).min();
        let order = match next {
            Some(at) => orders.recv_timeout(at.since(clock::now())),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match order {
            Ok(Order::Open { call, voice }) => drop(voices.insert(call, voice)),
            Ok(Order::Speak { call, to, payload }) => {
                if let Some(voice) = voices.get_mut(&call) {
                    voice.speak(to, payload, clock::now());
                }
            }
            Ok(Order::Close { call }) => drop(voices.remove(&call)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
