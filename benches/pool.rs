//! What a lease and a look-up cost: `cargo bench --bench pool`. Goal 60 ns each, wanted 25 ns.

use std::hint::black_box;
use std::num::NonZeroU32;

use criterion::{Criterion, criterion_group, criterion_main};
use e911d::pool::{Holder, Lease, Pool, ShelfId};
use e911d::words::{E164, Time};

const NUMBERS: u64 = 10_000;
const SHELF: ShelfId = ShelfId(0);
const HOLDER: Holder = Holder(NonZeroU32::MIN);

/// `stride` 1: one contiguous range; otherwise scattered numbers.
fn numbers(stride: u64) -> Vec<E164> {
    (0..NUMBERS).filter_map(|i| E164::from_digits(12_100_000_000 + i * stride % 1_000_003)).collect()
}

fn pool(stride: u64) -> Pool {
    match Pool::new(&[numbers(stride)]) {
        Ok(pool) => pool,
        Err(error) => panic!("{error}"),
    }
}

fn lease_and_release(c: &mut Criterion) {
    for held in [0, NUMBERS / 2, NUMBERS - 100] {
        let pool = pool(1);
        let _out: Vec<Lease> = (0..held).filter_map(|_| pool.lease(SHELF, HOLDER)).collect();
        c.bench_function(&format!("lease+release, {held} of {NUMBERS} held"), |b| {
            b.iter(|| {
                if let Some(lease) = pool.lease(SHELF, HOLDER) {
                    pool.release(black_box(lease), Time::ZERO);
                }
            });
        });
    }
}

fn look_up(c: &mut Criterion) {
    for (stride, name) in [(1, "one range"), (37, "scattered")] {
        let (pool, numbers) = (pool(stride), numbers(stride));
        let mut x = 88_172_645_463_325_252_u64;
        c.bench_function(&format!("lookup, random number of {name}"), |b| {
            b.iter(|| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                pool.lookup(numbers[(x % NUMBERS) as usize])
            });
        });
    }
    let (pool, stranger) = (pool(1), E164::from_digits(19_990_000_000));
    c.bench_function("lookup, a number that is not there", |b| b.iter(|| black_box(stranger).and_then(|n| pool.lookup(n))));
}

criterion_group!(benches, lease_and_release, look_up);
criterion_main!(benches);
