//! The number pool under eight threads and ten million operations: nothing is leased twice, no false "empty", and every
//! look-up is of one moment.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use e911d::pool::{Holder, Lease, Pool, Rest, ShelfId, State};
use e911d::words::{E164, Time};

const THREADS: u32 = 8;
const OPERATIONS: u32 = if cfg!(miri) {
    2_000
} else if cfg!(debug_assertions) {
    1_000_000
} else {
    10_000_000
};

fn number(n: u32) -> E164 {
    E164::from_digits(14_255_550_000 + u64::from(n)).unwrap()
}

/// The low eight bits name the thread, the others count its leases.
fn holder(thread: u32, count: u32) -> Holder {
    Holder(NonZeroU32::new(count << 8 | (thread + 1)).unwrap())
}

fn xorshift(x: &mut u64) -> u64 {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    *x
}

/// Every thread holds up to `most` numbers of a shelf that has just as many for all of them.
fn stress(most: usize) {
    let size = THREADS * most as u32;
    let pool = Pool::new(&[(0..size).map(number).collect()]).unwrap();
    let owners: Vec<AtomicU32> = (0..size).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for me in 0..THREADS {
            let (pool, owners) = (&pool, &owners);
            scope.spawn(move || one_thread(pool, owners, me, most, size));
        }
    });
    assert_eq!(pool.free(ShelfId(0)), size);
    let mut all: Vec<E164> = std::iter::from_fn(|| pool.lease(ShelfId(0), holder(0, 1))).map(|l| l.number()).collect();
    all.sort();
    assert_eq!(all, (0..size).map(number).collect::<Vec<_>>());
}

fn one_thread(pool: &Pool, owners: &[AtomicU32], me: u32, most: usize, size: u32) {
    let shelf = ShelfId(0);
    let mut held: VecDeque<(Lease, Holder)> = VecDeque::new();
    let mut random = 0x9E37_79B9_7F4A_7C15 ^ u64::from(me + 1);
    for count in 0..OPERATIONS / THREADS {
        match xorshift(&mut random) % 4 {
            0 | 1 if held.len() < most => {
                let who = holder(me, count);
                let lease = pool.lease(shelf, who).expect("the others can hold all but one of the numbers");
                let before = owners[lease.slot().0 as usize].swap(me + 1, Ordering::Relaxed);
                assert_eq!(before, 0, "leased twice");
                held.push_back((lease, who));
            }
            0..=2 => {
                let Some((lease, who)) = held.pop_front() else { continue };
                let found = pool.lookup(lease.number()).unwrap();
                assert_eq!((found.state, found.generation, found.slot), (State::Leased(who), lease.generation(), lease.slot()));
                owners[lease.slot().0 as usize].store(0, Ordering::Relaxed);
                pool.release(lease, Time::from_micros(u64::from(count)));
            }
            _ => {
                let n = number(xorshift(&mut random) as u32 % size);
                let (one, two) = (pool.lookup(n).unwrap(), pool.lookup(n).unwrap());
                let (State::Leased(h) | State::Idle { last: h }) = one.state else { continue };
                assert!((1..=THREADS).contains(&(h.0.get() & 0xFF)));
                if let (true, State::Leased(later) | State::Idle { last: later }) = (one.generation == two.generation, two.state)
                {
                    assert_eq!(h, later, "one generation, two holders");
                }
                if held.len() < most {
                    assert!(matches!(pool.head_idle(shelf, Time::ZERO), Some(Rest::Unused | Rest::For(_))));
                }
            }
        }
    }
    for (lease, _) in held {
        owners[lease.slot().0 as usize].store(0, Ordering::Relaxed);
        pool.release(lease, Time::ZERO);
    }
}

#[test]
fn with_one_number_for_each_thread_nothing_is_leased_twice_and_none_is_missing() {
    stress(1);
}

#[test]
fn with_many_numbers_for_each_thread_nothing_is_leased_twice_and_none_is_missing() {
    stress(50);
}
