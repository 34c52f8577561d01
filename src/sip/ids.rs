//! Call-IDs, tags and branches of ours.
//!
//! Each carries the shard and the key of what it names, so that a response or a request inside a dialog finds
//! its transaction or dialog without a look-up, and a keyed check so that nobody outside can make one up.
//! A key holds a generation, the check a per-process secret: no id ever repeats, within a run or across two.

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

/// An id as text: 28 bytes, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id([u8; LEN]);

const LEN: usize = 28;
const MARK: &[u8; 2] = b"e9";
/// RFC 3261 section 8.1.1.7: every branch of an RFC 3261 element begins so.
pub const COOKIE: &[u8] = b"z9hG4bK";

impl Id {
    /// The bytes, all of them token characters.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Makes ids and reads them back.
#[derive(Clone, Copy)]
pub struct Ids {
    secret: u64,
    shard: u8,
}

impl Ids {
    /// Ids of this shard. `secret` is random, once a process, and the same for all its shards.
    pub const fn new(secret: u64, shard: u8) -> Self {
        Self { secret, shard }
    }

    /// The id of what `key` names.
    pub fn make(&self, kind: Kind, key: u64) -> Id {
        let mut text = [0; LEN];
        text[..2].copy_from_slice(MARK);
        hex(&mut text[2..4], u64::from(self.shard));
        hex(&mut text[4..20], key);
        hex(&mut text[20..28], u64::from(self.check(kind, self.shard, key)));
        Id(text)
    }

    /// The key inside an id of this shard; `None` if it is another's or nobody's.
    pub fn read(&self, kind: Kind, text: &[u8]) -> Option<u64> {
        let (shard, key) = self.parse(kind, text)?;
        (shard == self.shard).then_some(key)
    }

    /// The key inside a Via branch of this shard.
    pub fn read_branch(&self, branch: &[u8]) -> Option<u64> {
        self.read(Kind::Branch, branch.strip_prefix(COOKIE)?)
    }

    /// Which shard made this id, whatever shard we are.
    pub fn shard_of(&self, kind: Kind, text: &[u8]) -> Option<u8> {
        self.parse(kind, text).map(|(shard, _)| shard)
    }

    fn parse(&self, kind: Kind, text: &[u8]) -> Option<(u8, u64)> {
        if text.len() != LEN || &text[..2] != MARK {
            return None;
        }
        let shard = u8::try_from(unhex(&text[2..4])?).ok()?;
        let key = unhex(&text[4..20])?;
        (unhex(&text[20..28])? == u64::from(self.check(kind, shard, key))).then_some((shard, key))
    }

    fn check(&self, kind: Kind, shard: u8, key: u64) -> u32 {
        let mut h = DefaultHasher::new();
        h.write_u64(self.secret);
        h.write_u64(key);
        h.write_u16(u16::from(shard) << 8 | kind as u16);
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
    use super::{Ids, Kind};

    #[test]
    fn an_id_gives_its_key_back_to_its_own_shard_only() {
        let (zero, one) = (Ids::new(7, 0), Ids::new(7, 1));
        let id = one.make(Kind::Tag, 0x1234_0000_0042);
        assert_eq!(one.read(Kind::Tag, id.as_bytes()), Some(0x1234_0000_0042));
        assert_eq!(zero.read(Kind::Tag, id.as_bytes()), None);
        assert_eq!(zero.shard_of(Kind::Tag, id.as_bytes()), Some(1));
    }

    #[test]
    fn a_made_up_id_is_nobodys() {
        let ids = Ids::new(7, 0);
        let id = ids.make(Kind::Branch, 42);
        assert_eq!(ids.read(Kind::Tag, id.as_bytes()), None, "a branch is no tag");
        assert_eq!(Ids::new(8, 0).read(Kind::Branch, id.as_bytes()), None, "another run's");
        for i in 0..id.as_bytes().len() {
            let mut forged = id.as_bytes().to_vec();
            forged[i] = if forged[i] == b'0' { b'1' } else { b'0' };
            assert_eq!(ids.read(Kind::Branch, &forged), None, "byte {i}");
        }
    }
}
