//! Every interleaving of a few threads on the shipped code, weak memory included.
//!
//! `RUSTFLAGS="--cfg e911d_models" cargo test --release --lib pool::`

use std::num::NonZeroU32;

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use super::sync::turns::at_every_step;
use super::*;

const SHELF: ShelfId = ShelfId(0);

fn number(n: u64) -> E164 {
    E164::from_digits(14_255_550_100 + n).unwrap()
}

fn holder(n: u32) -> Holder {
    Holder(NonZeroU32::new(n).unwrap())
}

fn pool(numbers: u64) -> Arc<Pool> {
    Arc::new(Pool::new(&[(0..numbers).map(number).collect()]).unwrap())
}

/// All interleavings in which threads are interrupted at most `preemptions` times in all; `None`: all there are.
fn model(preemptions: Option<usize>, run: impl Fn() + Sync + Send + 'static) {
    at_every_step(false);
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(run);
}

/// The same, with a change of threads tried before every single access: for models in which a thread only reads.
fn model_each_step(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        // What is built before the threads start needs no turns.
        at_every_step(false);
        run();
    });
}

/// All numbers are there once, and the queue is whole.
fn whole(pool: &Pool, numbers: u64) {
    let leases: Vec<Lease> = std::iter::from_fn(|| pool.lease(SHELF, holder(99))).collect();
    let mut got: Vec<E164> = leases.iter().map(Lease::number).collect();
    got.sort();
    assert_eq!(got, (0..numbers).map(number).collect::<Vec<_>>());
    for lease in leases {
        pool.release(lease, Time::ZERO);
    }
    assert_eq!(u64::from(pool.free(SHELF)), numbers);
}

/// Leases, checks that nobody else has the number, releases; `times` times.
fn cycle(pool: &Pool, me: u32, times: u32) {
    for _ in 0..times {
        let lease = pool.lease(SHELF, holder(me)).expect("as many numbers as threads");
        let found = pool.lookup(lease.number()).unwrap();
        assert_eq!((found.state, found.generation), (State::Leased(holder(me)), lease.generation()));
        pool.release(lease, Time::from_micros(u64::from(me)));
    }
}

#[test]
fn two_threads_on_two_numbers_never_meet_and_never_find_it_empty() {
    model(None, || {
        let pool = pool(2);
        let other = Arc::clone(&pool);
        let t = thread::spawn(move || cycle(&other, 1, 1));
        cycle(&pool, 2, 1);
        t.join().unwrap();
        whole(&pool, 2);
    });
}

#[test]
fn two_threads_changed_at_each_single_step_never_meet_and_never_find_it_empty() {
    model_each_step(2, || {
        let pool = pool(2);
        let other = Arc::clone(&pool);
        at_every_step(true);
        let t = thread::spawn(move || cycle(&other, 1, 2));
        cycle(&pool, 2, 2);
        t.join().unwrap();
        whole(&pool, 2);
    });
}

#[test]
fn nodes_that_come_back_again_and_again_deceive_nobody() {
    model(Some(3), || {
        let pool = pool(2);
        let other = Arc::clone(&pool);
        let t = thread::spawn(move || cycle(&other, 1, 1));
        cycle(&pool, 2, 3);
        t.join().unwrap();
        whole(&pool, 2);
    });
}

#[test]
fn three_threads_on_three_numbers_never_meet_and_never_find_it_empty() {
    model(Some(2), || {
        let pool = pool(3);
        let threads = [1, 2].map(|me| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || cycle(&pool, me, 1))
        });
        cycle(&pool, 3, 1);
        for t in threads {
            t.join().unwrap();
        }
        whole(&pool, 3);
    });
}

#[test]
fn of_two_threads_at_the_last_number_one_gets_it() {
    model(None, || {
        let pool = pool(1);
        let other = Arc::clone(&pool);
        let t = thread::spawn(move || other.lease(SHELF, holder(1)));
        let mine = pool.lease(SHELF, holder(2));
        let theirs = t.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
        let (lease, who) = mine.map(|l| (l, 2)).or(theirs.map(|l| (l, 1))).unwrap();
        assert_eq!(pool.lookup(number(0)).unwrap().state, State::Leased(holder(who)));
        pool.release(lease, Time::ZERO);
        whole(&pool, 1);
    });
}

#[test]
fn two_threads_that_release_at_once_lose_nothing() {
    model(None, || {
        let pool = pool(2);
        let [a, b] = [1, 2].map(|h| pool.lease(SHELF, holder(h)).unwrap());
        let other = Arc::clone(&pool);
        let t = thread::spawn(move || other.release(a, Time::ZERO));
        pool.release(b, Time::ZERO);
        t.join().unwrap();
        whole(&pool, 2);
    });
}

#[test]
fn numbers_are_leased_in_the_order_of_their_release() {
    model(None, || {
        let pool = pool(3);
        let [a, b] = [1, 2].map(|h| pool.lease(SHELF, holder(h)).unwrap());
        let (first, second) = (a.number(), b.number());
        let other = Arc::clone(&pool);
        let t = thread::spawn(move || {
            other.release(a, Time::ZERO);
            other.release(b, Time::ZERO);
        });
        let got: Vec<Lease> = std::iter::from_fn(|| pool.lease(SHELF, holder(3))).collect();
        t.join().unwrap();
        let rest: Vec<Lease> = std::iter::from_fn(|| pool.lease(SHELF, holder(3))).collect();
        let order: Vec<E164> = got.iter().chain(&rest).map(Lease::number).collect();
        assert_eq!(order, [number(2), first, second]);
        for lease in got.into_iter().chain(rest) {
            pool.release(lease, Time::ZERO);
        }
        whole(&pool, 3);
    });
}

#[test]
fn a_look_up_sees_generation_and_holder_of_one_lease() {
    model_each_step(2, || {
        let pool = pool(1);
        let other = Arc::clone(&pool);
        at_every_step(true);
        let t = thread::spawn(move || {
            for me in [1, 2] {
                let lease = other.lease(SHELF, holder(me)).unwrap();
                other.release(lease, Time::from_micros(u64::from(me)));
            }
        });
        let mut before = 0;
        for _ in 0..2 {
            let found = pool.lookup(number(0)).unwrap();
            let generation = found.generation.0;
            assert!(generation >= before);
            before = generation;
            match found.state {
                State::Never => assert_eq!(generation, 0),
                State::Leased(h) => assert_eq!(h, holder(generation)),
                State::Idle { last } => {
                    assert_eq!(last, holder(generation));
                    assert!(pool.idle_since(found.slot).is_none_or(|t| t.as_micros() >= u64::from(generation)));
                }
            }
        }
        t.join().unwrap();
    });
}

#[test]
fn the_next_number_can_be_looked_at_while_it_is_leased() {
    model_each_step(2, || {
        let mut pool = Pool::new(&[vec![number(0), number(1)]]).unwrap();
        assert!((0..2).all(|n| pool.rest(number(n), holder(9), Time::ZERO)));
        let pool = Arc::new(pool);
        let other = Arc::clone(&pool);
        at_every_step(true);
        let t = thread::spawn(move || cycle(&other, 1, 2));
        let rest = pool.head_idle(SHELF, Time::from_micros(1));
        assert!(matches!(rest, Some(Rest::For(_))), "one of two is always free");
        assert!((1..=2).contains(&pool.free(SHELF)));
        t.join().unwrap();
    });
}

#[test]
fn the_next_numbers_can_be_looked_at_while_they_are_leased_and_each_is_seen_once() {
    model_each_step(2, || {
        let pool = pool(3);
        let other = Arc::clone(&pool);
        at_every_step(true);
        let t = thread::spawn(move || cycle(&other, 1, 2));
        let mut heads = pool.heads(SHELF, 3);
        assert!((2..=3).contains(&heads.len()), "one at most is leased");
        heads.sort();
        heads.dedup();
        assert!(heads.len() >= 2, "none is seen twice");
        t.join().unwrap();
    });
}
