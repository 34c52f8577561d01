//! A network that can be bent: it loses, repeats, delays and so reorders datagrams, all by one seed.

use bytes::Bytes;
use e911d::words::Time;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Numbers that only look random: the same seed gives the same world.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// 0 to `sides` - 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// One datagram under way.
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Bytes,
}

/// See the module's docs.
pub struct Network {
    under_way: BTreeMap<(Time, u64), Packet>,
    sent: u64,
    pub loss: u64,
    pub repeat: u64,
    pub jitter: Duration,
}

impl Network {
    pub fn new(loss: u64, repeat: u64, jitter: Duration) -> Self {
        Self { under_way: BTreeMap::new(), sent: 0, loss, repeat, jitter }
    }

    pub fn send(&mut self, packet: Packet, now: Time, dice: &mut Dice) {
        if dice.chance(self.loss) {
            return;
        }
        if dice.chance(self.repeat) {
            let again = Packet { bytes: packet.bytes.clone(), ..packet };
            self.put(again, now, dice);
        }
        self.put(packet, now, dice);
    }

    pub fn next(&self) -> Option<Time> {
        self.under_way.keys().next().map(|k| k.0)
    }

    pub fn arrive(&mut self, now: Time) -> Option<Packet> {
        let key = *self.under_way.keys().next()?;
        (key.0 <= now).then(|| self.under_way.remove(&key)).flatten()
    }

    fn put(&mut self, packet: Packet, now: Time, dice: &mut Dice) {
        let delay = Duration::from_micros(200 + dice.roll(self.jitter.as_micros() as u64 + 1));
        self.sent += 1;
        self.under_way.insert((now + delay, self.sent), packet);
    }
}
