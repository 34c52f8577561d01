//! A thread stopped at any step of any operation stops nobody else, and finishes well when it goes on.
//!
//! Each test runs the shipped operation and stops it before its first, second, … access to shared memory.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::sync::stepped::before_each_step;
use super::*;

const SHELF: ShelfId = ShelfId(0);
const NUMBERS: u64 = 5;

/// More steps than any operation has, without help from others.
const STEPS: usize = 20;

/// What the stopped thread was about to do.
type Operation = fn(&Pool, Vec<Lease>);

const OPERATIONS: [(&str, Operation); 6] = [
    ("lease", |pool, _| assert!(pool.lease(SHELF, holder(7)).is_none_or(|lease| pool.lookup(lease.number()).is_some()))),
    ("release", |pool, mut held| pool.release(held.remove(0), Time::from_micros(7))),
    ("lookup", |pool, _| assert!(pool.lookup(number(0)).is_some())),
    ("head_idle", |pool, _| assert!(pool.head_idle(SHELF, Time::ZERO).is_none_or(|rest| rest == Rest::Unused))),
    ("heads", |pool, _| assert!(pool.heads(SHELF, 9).len() <= NUMBERS as usize)),
    ("free", |pool, _| assert!(pool.free(SHELF) <= NUMBERS as u32)),
];

fn number(n: u64) -> E164 {
    E164::from_digits(14_255_550_100 + n).unwrap()
}

fn holder(n: u32) -> Holder {
    Holder(NonZeroU32::new(n).unwrap())
}

fn pool() -> Pool {
    Pool::new(&[(0..NUMBERS).map(number).collect()]).unwrap()
}

fn take(pool: &Pool, count: u64) -> Vec<Lease> {
    (0..count).map(|_| pool.lease(SHELF, holder(1)).unwrap()).collect()
}

/// Runs `operation` and abandons it for ever before step `k`; false if it was done before.
fn abandoned_at(k: usize, operation: impl FnOnce()) -> bool {
    let mut left = k;
    before_each_step(Some(Box::new(move || match left.checked_sub(1) {
        Some(less) => left = less,
        None => resume_unwind(Box::new("stopped")),
    })));
    let stopped = catch_unwind(AssertUnwindSafe(operation)).is_err();
    before_each_step(None);
    stopped
}

/// All that the others can do, with at most `lost` numbers in the hands of stopped threads. All of it must come to an end.
fn others_go_on(pool: &Pool, lost: u64, held: Vec<Lease>, what: &str) {
    for (i, lease) in held.into_iter().enumerate() {
        pool.release(lease, Time::from_micros(i as u64));
    }
    for round in 0..4 {
        let leases: Vec<Lease> = std::iter::from_fn(|| pool.lease(SHELF, holder(2))).collect();
        let mut got: Vec<E164> = leases.iter().map(Lease::number).collect();
        assert!((NUMBERS - lost..=NUMBERS).contains(&(got.len() as u64)), "{what}: {} in round {round}", got.len());
        for lease in &leases {
            assert_eq!(pool.lookup(lease.number()).unwrap().state, State::Leased(holder(2)), "{what}");
        }
        let order = got.clone();
        got.sort();
        got.dedup();
        assert_eq!(got.len(), leases.len(), "{what}: a number leased twice");
        assert_eq!(pool.head_idle(SHELF, Time::ZERO), None, "{what}");
        for lease in leases {
            pool.release(lease, Time::ZERO);
        }
        assert!(pool.head_idle(SHELF, Time::ZERO).is_some(), "{what}");
        let again: Vec<Lease> = std::iter::from_fn(|| pool.lease(SHELF, holder(2))).collect();
        assert_eq!(again.iter().map(Lease::number).collect::<Vec<_>>(), order, "{what}: not in the order of release");
        for lease in again {
            pool.release(lease, Time::ZERO);
        }
    }
    assert!((0..NUMBERS).all(|n| pool.lookup(number(n)).is_some()), "{what}");
}

#[test]
fn a_thread_stopped_for_ever_at_any_step_stops_nobody() {
    for (name, operation) in OPERATIONS {
        for taken in 1..=NUMBERS {
            let steps = (0..).take_while(|&k| {
                let pool = pool();
                let (mine, theirs) = (take(&pool, 1), take(&pool, taken - 1));
                let stopped = abandoned_at(k, || operation(&pool, mine));
                let lost = if name == "release" && !stopped { 0 } else { 2 };
                others_go_on(&pool, lost, theirs, &format!("{name} stopped before step {k}, {taken} taken"));
                stopped
            });
            let steps = steps.count();
            assert!((1..STEPS).contains(&steps), "{name} has {steps} steps");
        }
    }
}

#[test]
fn two_threads_stopped_for_ever_at_any_two_steps_stop_nobody() {
    for (first, one) in &OPERATIONS[..2] {
        for (second, other) in &OPERATIONS[..2] {
            for (k, j) in (0..STEPS).flat_map(|k| (0..STEPS).map(move |j| (k, j))).step_by(if cfg!(miri) { 17 } else { 1 }) {
                let pool = pool();
                let (a, b) = (take(&pool, 1), take(&pool, 1));
                abandoned_at(k, || one(&pool, a));
                abandoned_at(j, || other(&pool, b));
                others_go_on(&pool, 4, vec![], &format!("{first} before step {k}, {second} before step {j}"));
            }
        }
    }
}

/// A thread that stops before step `k` of its operation until it is told to go on.
struct Sleeper {
    asleep: Receiver<()>,
    wake: Sender<()>,
    thread: thread::JoinHandle<Option<Lease>>,
}

fn sleeper(k: usize, operation: impl FnOnce() -> Option<Lease> + Send + 'static) -> Sleeper {
    let (says, asleep) = mpsc::channel();
    let (wake, woken) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let mut left = Some(k);
        before_each_step(Some(Box::new(move || {
            left = match left {
                Some(0) => {
                    let _ = says.send(());
                    let _ = woken.recv();
                    None
                }
                Some(more) => Some(more - 1),
                None => None,
            };
        })));
        let lease = operation();
        before_each_step(None);
        lease
    });
    Sleeper { asleep, wake, thread }
}

#[test]
fn a_thread_that_slept_at_any_step_finishes_well_however_far_the_others_went() {
    for releases in [false, true] {
        for others in if cfg!(miri) { vec![0, 1, 7] } else { (0..10).chain([50]).collect() } {
            for k in 0..STEPS {
                let what = format!("release {releases}, step {k}, {others} others");
                let pool = Arc::new(pool());
                let (mut mine, shared) = (take(&pool, 1), Arc::clone(&pool));
                let sleeper = sleeper(k, move || {
                    if releases {
                        shared.release(mine.remove(0), Time::ZERO);
                        return None;
                    }
                    let lease = shared.lease(SHELF, holder(7));
                    shared.release(mine.remove(0), Time::ZERO);
                    lease
                });
                // Either it sleeps, or it is done and its channel is gone.
                let _ = sleeper.asleep.recv();
                for _ in 0..others {
                    if let Some(lease) = pool.lease(SHELF, holder(2)) {
                        pool.release(lease, Time::ZERO);
                    }
                }
                let _ = sleeper.wake.send(());
                let lease = sleeper.thread.join().unwrap();
                if let Some(lease) = lease {
                    assert_eq!(pool.lookup(lease.number()).unwrap().state, State::Leased(holder(7)), "{what}");
                    pool.release(lease, Time::ZERO);
                } else {
                    assert!(releases, "{what}: a false empty");
                }
                assert_eq!(pool.free(SHELF), NUMBERS as u32, "{what}");
                others_go_on(&pool, 0, vec![], &what);
            }
        }
    }
}
