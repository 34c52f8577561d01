//! A first-in first-out queue of slots on which no thread ever waits for another.
//!
//! It is the queue of Michael and Scott (PODC 1996) over a fixed array of nodes. A queue of n slots has n + 1 nodes: the
//! first node of the list is a dummy, and whoever takes a slot takes the dummy along (the slot's own node becomes the new
//! dummy) and brings it back with the slot. So nothing is ever allocated, freed or reclaimed.
//!
//! Against the reuse of a node while somebody still looks at it (ABA), every link carries a *position*. The nodes that
//! ever stood in the list are numbered in a row: `head` and `tail` say which node is at which position, and a node's
//! `next` says at which position that node stands. A node whose `next` has another position than expected has moved on,
//! and whoever came with the old one starts again. Positions have 40 bits: to be deceived, a thread must sleep in
//! mid-step for exactly a multiple of 2^40 leases of one shelf, 34 years at a thousand a second.
//!
//! What holds at every moment, and what the orderings below keep:
//! 1. At most one node is linked behind `tail`; so `head` is never more than one position before `tail`.
//! 2. Whoever has acquired a `head` or `tail` at position p sees its node's `next` with position p or a later one.
//! 3. A node's `next` is empty only at the end of the list, or while the node is in one thread's hands with a position
//!    that neither `head` nor `tail` ever had together with this node.
//! 4. `tail` has left a node before the node's `next` is written anew: who brings it back first moves `tail` to the end of
//!    the list, over this very node's old link if need be. So, other than in the paper, takers need not look at `tail`.
//!
//! Progress: a loop turns again only after another thread has moved `head`, `tail` or the last link.

use super::sync::{AtomicU64, Ordering};

const NODE_BITS: u32 = 24;
const NO_NODE: u32 = (1 << NODE_BITS) - 1;
const POSITION_MASK: u64 = u64::MAX >> NODE_BITS;

/// The most slots that a queue can have.
pub(super) const MOST: usize = NO_NODE as usize - 1;

/// A node that belongs to a slot which was taken. Comes back with it.
#[derive(Debug)]
pub(super) struct Spare(u32);

/// The queue.
pub(super) struct Queue {
    head: Line,
    tail: Line,
    nodes: Box<[Node]>,
}

/// A word alone on its cache line: takers do not disturb those who bring back.
#[repr(align(64))]
struct Line(AtomicU64);

struct Node {
    next: AtomicU64,
    slot: AtomicU64,
}

/// A node and a position, packed into a word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link {
    node: u32,
    position: u64,
}

impl Link {
    fn unpack(word: u64) -> Self {
        Self { node: word as u32 & NO_NODE, position: word >> NODE_BITS }
    }

    fn pack(self) -> u64 {
        self.position << NODE_BITS | u64::from(self.node)
    }

    /// The link one position on, at `node`.
    fn then(self, node: u32) -> Self {
        Self { node, position: (self.position + 1) & POSITION_MASK }
    }

    fn is_end(self) -> bool {
        self.node == NO_NODE
    }
}

impl Queue {
    /// A queue with the `len` slots from `first` on, in this order; `len` at most [`MOST`].
    pub(super) fn new(first: u32, len: u32) -> Self {
        let node = |i: u32| Node {
            next: AtomicU64::new(Link { node: if i < len { i + 1 } else { NO_NODE }, position: u64::from(i) }.pack()),
            slot: AtomicU64::new((u64::from(first) + u64::from(i)).saturating_sub(1)),
        };
        let end = Link { node: len, position: u64::from(len) };
        Self { head: Line(AtomicU64::new(0)), tail: Line(AtomicU64::new(end.pack())), nodes: (0..=len).map(node).collect() }
    }

    /// Takes the slot that has been here longest; `None` only at a moment when there is none.
    #[inline]
    pub(super) fn pop(&self) -> Option<(u32, Spare)> {
        loop {
            // Acquire, with the Release of the exchange below: invariant 2.
            let head = Link::unpack(self.head.0.load(Ordering::Acquire));
            let next = self.next_of(head);
            if next.position != head.position {
                continue;
            }
            if next.is_end() {
                // Nobody is behind position p at this moment, so `head` cannot have left p either: the queue is empty now.
                return None;
            }
            // Relaxed: its writer has released it with the link that `next_of` acquired. If the node has moved on in the
            // meantime the value may be a later one, but then so has `head`, and the exchange fails.
            let slot = self.node(next.node).slot.load(Ordering::Relaxed);
            // Release: who acquires the new `head` sees the link that we saw, and what it writes to the node later cannot reach
            // our load above. Success needs no Acquire: the load of `head` had it.
            let moved =
                self.head.0.compare_exchange(head.pack(), head.then(next.node).pack(), Ordering::Release, Ordering::Relaxed);
            if moved.is_ok() {
                return Some((slot as u32, Spare(head.node)));
            }
        }
    }

    /// Brings a slot back to the end, with the node that it was taken with.
    #[inline]
    pub(super) fn push(&self, slot: u32, spare: Spare) {
        let own = self.node(spare.0);
        // Release: who still looks at this node and reads this, then sees as well that `head` has left it (`peek`).
        own.slot.store(u64::from(slot), Ordering::Release);
        loop {
            // Acquire, with the Release of `advance_tail`: invariant 2.
            let tail = Link::unpack(self.tail.0.load(Ordering::Acquire));
            let next = self.next_of(tail);
            if next.position != tail.position {
                continue;
            }
            if !next.is_end() {
                self.advance_tail(tail, next.node);
                continue;
            }
            // Release: who came with an old position and reads this, then sees as well that `head` or `tail` has moved, and
            // does not come with the same one again.
            own.next.store(tail.then(NO_NODE).pack(), Ordering::Release);
            // Release, for the Acquire of `next_of`: publishes the slot, the node's own `next` and all that the caller wrote
            // to the slot. Relaxed on failure: the next turn reads it again.
            let link = Link { node: spare.0, position: tail.position };
            let linked =
                self.node(tail.node).next.compare_exchange(next.pack(), link.pack(), Ordering::Release, Ordering::Relaxed);
            if linked.is_ok() {
                self.advance_tail(tail, spare.0);
                return;
            }
        }
    }

    /// The slot that would be taken now; `None` if there is none.
    pub(super) fn peek(&self) -> Option<u32> {
        loop {
            let seen = self.head.0.load(Ordering::Acquire);
            let head = Link::unpack(seen);
            let next = self.next_of(head);
            if next.position != head.position {
                continue;
            }
            if next.is_end() {
                return None;
            }
            // Acquire, with the Release in `push`: a later slot of a reused node is not read without the later `head`.
            let slot = self.node(next.node).slot.load(Ordering::Acquire);
            // Relaxed: the load before it is an Acquire, so this one comes after.
            if self.head.0.load(Ordering::Relaxed) == seen {
                return Some(slot as u32);
            }
        }
    }

    /// The first `most` slots in the order in which they would be taken now.
    pub(super) fn heads(&self, most: usize) -> Vec<u32> {
        let mut slots = Vec::with_capacity(most);
        loop {
            slots.clear();
            let seen = self.head.0.load(Ordering::Acquire);
            let mut at = Link::unpack(seen);
            let whole = loop {
                if slots.len() == most {
                    break true;
                }
                let next = self.next_of(at);
                if next.position != at.position || next.is_end() {
                    break next.position == at.position;
                }
                // Acquire, as in `peek`. Nodes behind a `head` that has not moved stay where they are.
                slots.push(self.node(next.node).slot.load(Ordering::Acquire) as u32);
                at = at.then(next.node);
            };
            // Relaxed: the loads before it are Acquires, so this one comes after.
            if whole && self.head.0.load(Ordering::Relaxed) == seen {
                return slots;
            }
        }
    }

    /// How many slots are here, of the moment: exact when nobody is taking or bringing.
    pub(super) fn len(&self) -> u32 {
        let head = Link::unpack(self.head.0.load(Ordering::Acquire));
        loop {
            // A `tail` read after `head` is at most one position behind it (invariant 1), and then `next` is linked.
            let tail = Link::unpack(self.tail.0.load(Ordering::Acquire));
            let next = self.next_of(tail);
            if next.position != tail.position {
                continue;
            }
            let end = tail.position + u64::from(!next.is_end());
            let len = end.wrapping_sub(head.position) & POSITION_MASK;
            return len.min(u64::from(self.capacity())) as u32;
        }
    }

    /// How many slots the queue was made for.
    pub(super) fn capacity(&self) -> u32 {
        self.nodes.len() as u32 - 1
    }

    /// Takes this very slot out, wherever it stands; the others keep their order. Walks the queue.
    pub(super) fn take(&mut self, slot: u32) -> Option<Spare> {
        let end = self.walk().position(|node| self.slot_in(node) == slot)?;
        let nodes: Vec<u32> = self.walk().take(end + 1).collect();
        self.rotate(nodes, slot);
        self.pop().map(|(_, spare)| spare)
    }

    /// Puts a slot in front of the first one that `is_later`, or at the end. Walks the queue.
    pub(super) fn insert(&mut self, slot: u32, spare: Spare, is_later: impl Fn(u32) -> bool) {
        self.push(slot, spare);
        let stays = |&node: &u32| self.slot_in(node) != slot && !is_later(self.slot_in(node));
        let nodes: Vec<u32> = self.walk().skip_while(stays).collect();
        self.rotate(nodes, slot);
    }

    /// Takes all slots out and brings those back that `order` makes of them; gives the nodes of the others with their slots.
    pub(super) fn reorder(&mut self, order: impl FnOnce(Vec<u32>) -> Vec<u32>) -> Vec<Spare> {
        let mut spares = Vec::new();
        let mut slots = Vec::new();
        while let Some((slot, spare)) = self.pop() {
            slots.push(slot);
            spares.push(spare);
        }
        for slot in order(slots) {
            if let Some(spare) = spares.pop() {
                self.push(slot, spare);
            }
        }
        spares
    }

    /// Puts `first` into the first node and moves the slots of the others one node on; the last one falls out.
    fn rotate(&mut self, nodes: Vec<u32>, first: u32) {
        let mut carried = first;
        for node in nodes {
            let here = self.slot_in(node);
            self.node(node).slot.store(u64::from(carried), Ordering::Relaxed);
            carried = here;
        }
    }

    /// The nodes that have a slot, in order. Only for who has the queue alone.
    fn walk(&self) -> impl Iterator<Item = u32> {
        let after = |node: u32| {
            let next = Link::unpack(self.node(node).next.load(Ordering::Relaxed));
            (!next.is_end()).then_some(next.node)
        };
        std::iter::successors(after(Link::unpack(self.head.0.load(Ordering::Relaxed)).node), move |&node| after(node))
    }

    fn slot_in(&self, node: u32) -> u32 {
        self.node(node).slot.load(Ordering::Relaxed) as u32
    }

    /// What follows on `at`, and the position at which its node stands now.
    fn next_of(&self, at: Link) -> Link {
        // Acquire, with the link's Release in `push`: the next node, its slot and the slot's state are seen whole.
        Link::unpack(self.node(at.node).next.load(Ordering::Acquire))
    }

    /// Moves `tail` on to the node that was linked behind it, for whoever linked it: nobody waits until that one does.
    fn advance_tail(&self, tail: Link, node: u32) {
        // Release: invariant 2 for those who acquire it; our caller has acquired or made the link. A failure means that
        // somebody else has moved it, so the exchange must not fail by accident (not `_weak`).
        let _ = self.tail.0.compare_exchange(tail.pack(), tail.then(node).pack(), Ordering::Release, Ordering::Relaxed);
    }

    fn node(&self, node: u32) -> &Node {
        // Every node in a link or a `Spare` is one of this queue.
        &self.nodes[node as usize]
    }
}
