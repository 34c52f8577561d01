//! What one thread sees of the pool.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;

const SHELF: ShelfId = ShelfId(0);

fn number(n: u64) -> E164 {
    E164::from_digits(14_255_550_100 + n).unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<E164> {
    range.map(number).collect()
}

fn holder(n: u32) -> Holder {
    Holder(NonZeroU32::new(n).unwrap())
}

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn state(pool: &Pool, n: u64) -> State {
    pool.lookup(number(n)).unwrap().state
}

#[test]
fn l4_two_holders_get_two_numbers_while_any_is_free() {
    let pool = Pool::new(&[numbers(0..3)]).unwrap();
    let leases: Vec<Lease> = (1..=3).map(|h| pool.lease(SHELF, holder(h)).unwrap()).collect();
    assert_eq!(leases.iter().map(Lease::number).collect::<Vec<_>>(), numbers(0..3));
    assert!(pool.lease(SHELF, holder(4)).is_none());
    assert_eq!(pool.free(SHELF), 0);
}

#[test]
fn l5_each_shelf_leases_its_own_numbers_only() {
    let pool = Pool::new(&[numbers(0..1), vec![], numbers(5..7)]).unwrap();
    assert!(pool.lease(ShelfId(1), holder(1)).is_none());
    assert!(pool.lease(ShelfId(3), holder(1)).is_none());
    let lease = pool.lease(ShelfId(2), holder(1)).unwrap();
    assert_eq!((lease.number(), pool.shelf(lease.slot())), (number(5), Some(ShelfId(2))));
    assert_eq!(
        (0..4).map(|s| (pool.size(ShelfId(s)), pool.free(ShelfId(s)))).collect::<Vec<_>>(),
        [(1, 1), (0, 0), (2, 1), (0, 0)]
    );
    pool.release(lease, at(1));
    assert_eq!(pool.free(ShelfId(2)), 2);
}

#[test]
fn l6_the_longest_idle_number_is_leased_first() {
    let pool = Pool::new(&[numbers(0..3)]).unwrap();
    let [a, b, c] = [1, 2, 3].map(|h| pool.lease(SHELF, holder(h)).unwrap());
    for (lease, second) in [(b, 10), (c, 20), (a, 30)] {
        pool.release(lease, at(second));
    }
    for n in [1, 2, 0, 1, 2, 0] {
        let lease = pool.lease(SHELF, holder(9)).unwrap();
        assert_eq!(lease.number(), number(n));
        pool.release(lease, at(40));
    }
}

#[test]
fn l6_how_long_the_next_number_has_rested_is_known_before_it_is_leased() {
    let pool = Pool::new(&[numbers(0..2)]).unwrap();
    assert_eq!(pool.head_idle(SHELF, at(0)), Some(Rest::Unused));
    let [a, b] = [1, 2].map(|h| pool.lease(SHELF, holder(h)).unwrap());
    assert_eq!(pool.head_idle(SHELF, at(5)), None);
    assert_eq!(a.previous(), None);
    let slot = a.slot();
    assert_eq!(pool.idle_since(slot), None);
    pool.release(a, at(10));
    pool.release(b, at(20));
    assert_eq!(pool.idle_since(slot), Some(at(10)));
    assert_eq!(pool.head_idle(SHELF, at(70)), Some(Rest::For(Duration::from_secs(60))));
    let again = pool.lease(SHELF, holder(3)).unwrap();
    assert_eq!(again.previous(), Some(Previous { holder: holder(1), released: at(10) }));
    assert_eq!(pool.head_idle(ShelfId(7), at(70)), None);
}

#[test]
fn c5_a_released_number_keeps_its_last_holder_until_it_is_leased_again() {
    let pool = Pool::new(&[numbers(0..1)]).unwrap();
    assert_eq!(state(&pool, 0), State::Never);
    let lease = pool.lease(SHELF, holder(1)).unwrap();
    assert_eq!(state(&pool, 0), State::Leased(holder(1)));
    pool.release(lease, at(1));
    assert_eq!(state(&pool, 0), State::Idle { last: holder(1) });
    let _lease = pool.lease(SHELF, holder(2)).unwrap();
    assert_eq!(state(&pool, 0), State::Leased(holder(2)));
    assert_eq!(pool.lookup(number(1)), None);
}

#[test]
fn the_generation_tells_an_old_lease_from_the_present_one() {
    let pool = Pool::new(&[numbers(0..1)]).unwrap();
    let lease = pool.lease(SHELF, holder(1)).unwrap();
    let (slot, first) = (lease.slot(), lease.generation());
    pool.release(lease, at(1));
    assert_eq!(pool.at(slot).unwrap().generation, first);
    let lease = pool.lease(SHELF, holder(1)).unwrap();
    assert_ne!(lease.generation(), first);
    assert_eq!(pool.at(slot).unwrap().generation, lease.generation());
    assert_eq!((pool.at(Slot(1)), pool.number(Slot(1)), pool.idle_since(Slot(1))), (None, None, None));
}

#[test]
fn l9_an_open_lease_keeps_its_number_in_the_next_pool() {
    let old = Pool::new(&[numbers(0..4)]).unwrap();
    let leases: Vec<Lease> = (1..=3).map(|h| old.lease(SHELF, holder(h)).unwrap()).collect();
    let mut new = Pool::new(&[numbers(2..6)]).unwrap();
    assert!(new.adopt(leases[0].number(), holder(1)).is_none(), "not in the new pool");
    let kept = new.adopt(leases[2].number(), holder(3)).unwrap();
    assert!(new.adopt(leases[2].number(), holder(4)).is_none(), "leased already");
    assert_eq!((kept.number(), state(&new, 2), new.free(SHELF)), (number(2), State::Leased(holder(3)), 3));
    for lease in leases {
        new.release(lease, at(1));
    }
    assert_eq!((state(&new, 2), new.free(SHELF)), (State::Leased(holder(3)), 3), "a lease of the old pool changes nothing");
    for n in [3, 4, 5] {
        assert_eq!(new.lease(SHELF, holder(9)).unwrap().number(), number(n));
    }
    assert!(new.lease(SHELF, holder(9)).is_none());
    new.release(kept, at(2));
    assert_eq!(new.lease(SHELF, holder(9)).unwrap().number(), number(2));
}

#[test]
fn c5_quarantined_numbers_go_behind_the_unused_ones_in_the_order_of_their_release() {
    let mut pool = Pool::new(&[numbers(0..6)]).unwrap();
    for (n, second) in [(3, 30), (0, 10), (5, 20), (2, 20)] {
        assert!(pool.rest(number(n), holder(n as u32 + 1), at(second)));
    }
    let adopted = pool.adopt(number(5), holder(6)).unwrap();
    assert_eq!(adopted.previous(), Some(Previous { holder: holder(6), released: at(20) }));
    assert!(!pool.rest(number(5), holder(6), at(1)), "leased");
    assert!(!pool.rest(number(9), holder(6), at(1)), "not in the pool");
    assert!(pool.rest(number(3), holder(4), at(15)), "again, with another time");
    assert_eq!((pool.free(SHELF), state(&pool, 0)), (5, State::Idle { last: holder(1) }));
    let leases: Vec<Lease> = (0..5).map(|_| pool.lease(SHELF, holder(9)).unwrap()).collect();
    assert_eq!(leases.iter().map(Lease::number).collect::<Vec<_>>(), [1, 4, 0, 3, 2].map(number));
    assert!(pool.lease(SHELF, holder(9)).is_none());
    pool.release(adopted, at(50));
    assert_eq!(pool.lease(SHELF, holder(9)).unwrap().number(), number(5));
}

#[test]
fn many_numbers_brought_in_at_once_are_what_one_by_one_they_would_be() {
    let entries = |seed: u64| {
        (0..20).map(move |i| {
            let dice = (seed * 31 + i * 17) % 11;
            let who = holder((i + 1) as u32);
            (number((seed * 7 + i * 5) % 14), if dice < 4 { Was::Leased(who) } else { Was::Rested(who, at(dice * 10 + i)) })
        })
    };
    for seed in 0..40 {
        let shelves = [numbers(0..7), numbers(7..12)];
        let (mut one, mut all) = (Pool::new(&shelves).unwrap(), Pool::new(&shelves).unwrap());
        let entries: Vec<_> = entries(seed).collect();
        let mut singly: Vec<Option<Lease>> = Vec::new();
        for &(number, was) in &entries {
            singly.push(match was {
                Was::Leased(who) => one.adopt(number, who),
                Was::Rested(who, since) => {
                    one.rest(number, who, since);
                    None
                }
            });
        }
        let together = all.bring_in(&entries);
        let numbers_of = |leases: &[Option<Lease>]| leases.iter().map(|l| l.as_ref().map(Lease::number)).collect::<Vec<_>>();
        assert_eq!(numbers_of(&singly), numbers_of(&together), "{seed}");
        for (pool, leases) in [(&one, singly), (&all, together)] {
            leases.into_iter().flatten().for_each(|lease| pool.release(lease, at(1000)));
        }
        for n in 0..12 {
            assert_eq!(state(&one, n), state(&all, n), "{seed}");
        }
        for shelf in [ShelfId(0), ShelfId(1)] {
            let heads = all.heads(shelf, 9);
            let order =
                |pool: &Pool| std::iter::from_fn(|| pool.lease(shelf, holder(99))).map(|l| l.number()).collect::<Vec<_>>();
            assert_eq!(heads, order(&all), "{seed}");
            let by_age = |mut numbers: Vec<E164>| {
                numbers.sort();
                numbers
            };
            assert_eq!(by_age(heads), by_age(order(&one)), "{seed}");
        }
    }
}

#[test]
fn the_next_numbers_can_be_seen_before_they_are_leased() {
    let pool = Pool::new(&[numbers(0..4)]).unwrap();
    assert_eq!(pool.heads(SHELF, 2), numbers(0..2));
    let first = pool.lease(SHELF, holder(1)).unwrap();
    assert_eq!(pool.heads(SHELF, 9), numbers(1..4));
    pool.release(first, at(1));
    assert_eq!(pool.heads(SHELF, 9), [1, 2, 3, 0].map(number));
    assert_eq!((pool.heads(SHELF, 0), pool.heads(ShelfId(9), 1)), (vec![], vec![]));
}

#[test]
fn a_number_that_is_given_twice_is_named_with_both_places() {
    let twice = Pool::new(&[numbers(0..2), vec![], vec![number(7), number(1)]]).unwrap_err();
    let first = Place { shelf: ShelfId(0), position: 1 };
    assert_eq!(twice, PoolError::Duplicate { first, again: Place { shelf: ShelfId(2), position: 1 } });
    assert_eq!(twice.to_string(), "one number twice: shelf 0 position 1 and shelf 2 position 1");
    if !cfg!(miri) {
        assert_eq!(Pool::new(&vec![vec![]; 65_537]).unwrap_err(), PoolError::TooMany);
    }
    assert!(Pool::new(&[]).unwrap().lease(SHELF, holder(1)).is_none());
}

#[test]
fn nothing_of_a_pool_prints_a_number() {
    let pool = Pool::new(&[numbers(0..1)]).unwrap();
    let lease = pool.lease(SHELF, holder(1)).unwrap();
    assert!(!format!("{pool:?} {lease:?} {:?}", pool.lookup(number(0))).contains("555"));
}

#[test]
fn a_pool_can_be_shared_and_a_lease_sent_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Pool>();
    shared::<Lease>();
}

#[test]
fn a_lease_that_is_passed_on_is_another_lease_of_the_same_number() {
    let pool = Pool::new(&[vec![number(0), number(1)]]).unwrap();
    let mut lease = pool.lease(SHELF, holder(1)).unwrap();
    let before = lease.generation();
    pool.pass_on(&mut lease, holder(2));
    let found = pool.lookup(lease.number()).unwrap();
    assert_eq!((found.state, found.generation), (State::Leased(holder(2)), lease.generation()));
    assert_ne!(before, lease.generation());
    pool.release(lease, Time::ZERO);
    assert_eq!(pool.at(found.slot).unwrap().state, State::Idle { last: holder(2) });
    assert_eq!(pool.free(SHELF), 2);
}
