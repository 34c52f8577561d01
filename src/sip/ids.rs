//! Call-IDs, tags and branches of ours.
//!
//! Each carries the shard, the era and the key of what it names, so that a response or a request inside a dialog finds
//! its transaction or dialog without a look-up, and a keyed check so that nobody outside can make one up.
//! A key holds a generation; the secret is the node's and outlives the process, whose era is never used again: no id ever
//! repeats, within a run or across two, and one of an earlier run is known as ours (RULES B1).

use std::hash::{DefaultHasher, Hasher};

/// What an id names; part of its check, so that a tag never passes for a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client transaction's Via branch.
    Branch,
    /// Our tag in a dialog.
    Tag,
    /// A Call-ID that we made.
    CallId,
}

/// An id as text: 32 bytes, on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id([u8; LEN]);

const LEN: usize = 32;
const MARK: &[u8; 2] = b"e9";
/// RFC 3261 section 8.1.1.7: every branch of an RFC 3261 element begins so.
pub const COOKIE: &[u8] = b"z9hG4bK";

impl Id {
    /// The bytes, all of them token characters.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An id as it was kept or came back. Whether it is one of ours is [`Ids::maker`]'s business.
    pub fn of(text: &[u8]) -> Option<Self> {
        text.try_into().ok().map(Self)
    }
}

/// Who made an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    /// When: see [`Ids::new`].
    pub era: u16,
    /// Which shard.
    pub shard: u8,
}

/// Makes ids and reads them back.
#[derive(Clone, Copy)]
pub struct Ids {
    secret: u64,
    me: Maker,
}

impl Ids {
    /// Ids of this shard. `secret` is random, the same for all shards and for every run of the node; `era` counts its runs.
    pub const fn new(secret: u64, era: u16, shard: u8) -> Self {
        Self { secret, me: Maker { era, shard } }
    }

    /// The id of what `key` names.
    pub fn make(&self, kind: Kind, key: u64) -> Id {
        let mut text = [0; LEN];
        text[..2].copy_from_slice(MARK);
        hex(&mut text[2..4], u64::from(self.me.shard));
        hex(&mut text[4..8], u64::from(self.me.era));
        hex(&mut text[8..24], key);
        hex(&mut text[24..32], u64::from(self.check(kind, self.me, key)));
        Id(text)
    }

    /// The key inside an id of this shard and era; `None` if it is another's or nobody's.
    pub fn read(&self, kind: Kind, text: &[u8]) -> Option<u64> {
        let (maker, key) = self.parse(kind, text)?;
        (maker == self.me).then_some(key)
    }

    /// The key inside a Via branch of this shard and era.
    pub fn read_branch(&self, branch: &[u8]) -> Option<u64> {
        self.read(Kind::Branch, branch.strip_prefix(COOKIE)?)
    }

    /// Which run of the node this is.
    pub const fn era(&self) -> u16 {
        self.me.era
    }

    /// Which shard this is.
    pub const fn shard(&self) -> u8 {
        self.me.shard
    }

    /// Who made this id, in whatever shard and era; `None` if it is nobody's.
    pub fn maker(&self, kind: Kind, text: &[u8]) -> Option<Maker> {
        self.parse(kind, text).map(|(maker, _)| maker)
    }

    /// Whether this id is ours and of another run than this one.
    pub fn is_of_before(&self, kind: Kind, text: &[u8]) -> bool {
        self.maker(kind, text).is_some_and(|maker| maker.era != self.me.era)
    }

    /// The shard of `shards` that what this id names belongs to: its maker, or who took up what the maker left behind.
    pub fn shard_of(&self, kind: Kind, text: &[u8], shards: u8) -> Option<u8> {
        let maker = self.maker(kind, text)?;
        Some(match maker.shard {
            0 => 0,
            shard if maker.era == self.me.era => {
                if shard < shards {
                    shard
                } else {
                    0
                }
            }
            shard => (shard - 1).checked_rem(shards.saturating_sub(1)).map_or(0, |at| at + 1),
        })
    }

    fn parse(&self, kind: Kind, text: &[u8]) -> Option<(Maker, u64)> {
        if text.len() != LEN || &text[..2] != MARK {
            return None;
        }
        let shard = u8::try_from(unhex(&text[2..4])?).ok()?;
        let era = u16::try_from(unhex(&text[4..8])?).ok()?;
        let (maker, key) = (Maker { era, shard }, unhex(&text[8..24])?);
        (unhex(&text[24..32])? == u64::from(self.check(kind, maker, key))).then_some((maker, key))
    }

    fn check(&self, kind: Kind, maker: Maker, key: u64) -> u32 {
        let mut h = DefaultHasher::new();
        h.write_u64(self.secret);
        h.write_u64(key);
        h.write_u64(u64::from(maker.era) << 32 | u64::from(maker.shard) << 8 | kind as u64);
        (h.finish() >> 32) as u32
    }
}

fn hex(out: &mut [u8], mut n: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(n & 15) as usize];
        n >>= 4;
    }
}

fn unhex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |n, &b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        Some(n << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::{Id, Ids, Kind, Maker};

    #[test]
    fn an_id_gives_its_key_back_to_its_own_shard_only() {
        let (zero, one) = (Ids::new(7, 1, 0), Ids::new(7, 1, 1));
        let id = one.make(Kind::Tag, 0x1234_0000_0042);
        assert_eq!(one.read(Kind::Tag, id.as_bytes()), Some(0x1234_0000_0042));
        assert_eq!(zero.read(Kind::Tag, id.as_bytes()), None);
        assert_eq!(zero.shard_of(Kind::Tag, id.as_bytes(), 2), Some(1));
    }

    #[test]
    fn b1_an_id_of_an_earlier_run_is_ours_and_names_nothing_of_this_one() {
        let (before, now) = (Ids::new(7, 1, 3), Ids::new(7, 2, 3));
        let id = before.make(Kind::Tag, 42);
        assert!(id != now.make(Kind::Tag, 42), "the same key, another id");
        assert_eq!(now.read(Kind::Tag, id.as_bytes()), None);
        assert_eq!(now.maker(Kind::Tag, id.as_bytes()), Some(Maker { era: 1, shard: 3 }));
        assert!(now.is_of_before(Kind::Tag, id.as_bytes()));
        assert!(!now.is_of_before(Kind::Tag, now.make(Kind::Tag, 42).as_bytes()));
        assert!(Id::of(id.as_bytes()) == Some(id));
        // However many shards there are now, each id has one that is there, and shard 0 keeps its own.
        for (shards, at) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 3), (8, 3)] {
            assert_eq!(now.shard_of(Kind::Tag, id.as_bytes(), shards), Some(at), "{shards} shards");
        }
        let of_first = Ids::new(7, 1, 0).make(Kind::Tag, 42);
        assert_eq!(now.shard_of(Kind::Tag, of_first.as_bytes(), 8), Some(0));
    }

    #[test]
    fn b1_an_id_is_the_same_whatever_built_us() {
        // The hasher of the standard library promises nothing across its releases. Should it change, ids need another one.
        let id = Ids::new(0x0123_4567_89ab_cdef, 9, 2).make(Kind::Branch, 0x1_0000_0001);
        assert_eq!(String::from_utf8_lossy(id.as_bytes()), "e902000900000001000000017f1e62ed");
    }

    #[test]
    fn a_made_up_id_is_nobodys() {
        let ids = Ids::new(7, 1, 0);
        let id = ids.make(Kind::Branch, 42);
        assert_eq!(ids.read(Kind::Tag, id.as_bytes()), None, "a branch is no tag");
        assert_eq!(Ids::new(8, 1, 0).maker(Kind::Branch, id.as_bytes()), None, "another node's");
        for i in 0..id.as_bytes().len() {
            let mut forged = id.as_bytes().to_vec();
            forged[i] = if forged[i] == b'0' { b'1' } else { b'0' };
            assert_eq!(ids.maker(Kind::Branch, &forged), None, "byte {i}");
        }
    }
}
