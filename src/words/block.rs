//! Bytes by the block: sixteen are looked at in one step.
//!
//! For what is asked of every message before anything else is: [`memchr`] is faster where what is looked for is far away, but
//! asks first which machine it runs on, and in the head of a message it is near. Read [`position`] first.

use wide::u8x16;

const LEN: usize = 16;
/// Bytes whose marks fit into one word.
pub(crate) const FOUR: usize = 4 * LEN;

/// Where the first of these is.
#[inline]
pub(crate) fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<LEN>();
    let mut at = 0;
    for block in blocks {
        let marks = equal(block, byte).to_bitmask();
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize);
        }
        at += LEN;
    }
    rest.iter().position(|&b| b == byte).map(|i| at + i)
}

/// Where the first of these is, if that is within the first [`FOUR`] of as many bytes at least.
#[inline]
pub(crate) fn near(bytes: &[u8], byte: u8) -> Option<usize> {
    let marks = marks(bytes.first_chunk()?, byte);
    (marks != 0).then_some(marks.trailing_zeros() as usize)
}

/// Bit i: whether byte i is this one.
#[inline]
pub(crate) fn marks(four: &[u8; FOUR], byte: u8) -> u64 {
    let blocks = four.as_chunks::<LEN>().0.iter().map(|block| u64::from(equal(block, byte).to_bitmask()));
    blocks.enumerate().fold(0, |all, (i, marks)| all | marks << (i * LEN))
}

/// How many digits stand at the start.
#[inline]
pub(crate) fn digits(block: &[u8; LEN]) -> usize {
    let from_zero = u8x16::new(*block) - u8x16::splat(b'0');
    (!from_zero.min(u8x16::splat(9)).simd_eq(from_zero).to_bitmask()).trailing_zeros().min(LEN as u32) as usize
}

#[inline]
fn equal(block: &[u8; LEN], byte: u8) -> u8x16 {
    u8x16::new(*block).simd_eq(u8x16::splat(byte))
}

#[cfg(test)]
mod tests {
    use super::{digits, marks, near, position};
    use proptest::prelude::*;

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![8 => Just(b'x'), 1 => Just(b'\n'), 1 => Just(b't'), 1 => any::<u8>()], 0..most)
    }

    proptest! {
        #[test]
        fn what_is_looked_for_is_found_where_it_is(bytes in bytes(100)) {
            prop_assert_eq!(position(&bytes, b'\n'), bytes.iter().position(|&b| b == b'\n'));
        }

        #[test]
        fn every_byte_has_its_mark(bytes: [u8; 64], byte: u8) {
            let want = (0..64).filter(|&i| bytes[i] == byte).fold(0, |all, i| all | 1 << i);
            prop_assert_eq!(marks(&bytes, byte), want);
            prop_assert_eq!(marks(&[byte; 64], byte), u64::MAX);
            prop_assert_eq!(near(&bytes, byte), bytes.iter().position(|&b| b == byte));
            prop_assert_eq!(near(&bytes[1..], byte), None);
        }

        #[test]
        fn digits_are_counted(mut block: [u8; 16], n in 0usize..17) {
            block[..n].fill(b'7');
            prop_assert_eq!(digits(&block), block.iter().take_while(|b| b.is_ascii_digit()).count());
        }
    }
}
