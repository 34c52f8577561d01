//! Nothing overtakes within a call: thousands of them beside each other, each side of which says several things at once.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::ordered::{Books, Kind, Party};
use common::{Transport, World, until};

/// Who runs the calls: ordinary ones on the front's thread, or on two of their own.
fn world(transport: Transport, threads: u32) -> World {
    World::with(transport, |_, mut config| {
        config.threads = Some(threads);
        config.ordinary = Some(r"^\+1212\d{7}$");
        config.trunks[0].numbers = "+13000000000-+13000019999".to_owned();
        config
    })
}

fn plan(calls: u32) -> Vec<(u32, Kind)> {
    let kind = |n| match n % 10 {
        3 => Kind::Emergency,
        7 => Kind::Cancelled,
        _ => Kind::Ordinary,
    };
    (0..calls).map(|n| (n, kind(n))).collect()
}

/// Plays so many calls, some of them at a time, and says what has overtaken.
fn play(transport: Transport, threads: u32, calls: u32, window: usize) -> Arc<Books> {
    let world = world(transport, threads);
    let books = Arc::<Books>::default();
    Party::start(transport, world.trunk_a(), world.at(), &books, Vec::new(), usize::MAX);
    Party::start(transport, world.pbx(), world.at(), &books, plan(calls), window);
    let of = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    let all = calls as usize + calls.div_ceil(10) as usize;
    let (mut over, in_order) = (0, || books.disorder.lock().unwrap().is_empty());
    while over < all && in_order() {
        let progress = || (of(&books.over) > over || !in_order()).then(|| of(&books.over));
        over = until("progress of the calls", Duration::from_secs(30), progress);
    }
    books.close();
    println!(
        "{transport:?}, {threads} threads: {all} calls, {} of them callbacks, {} turned away, {} messages, {} INFO lost, {} legs with repetitions",
        of(&books.callbacks),
        of(&books.turned_away),
        of(&books.messages),
        of(&books.lost),
        of(&books.repeated),
    );
    assert_eq!(*books.disorder.lock().unwrap(), Vec::<String>::new());
    assert_eq!(of(&books.callbacks), calls.div_ceil(10) as usize);
    books
}

/// As many as are taken without a word: next to nothing is said twice, and nothing is lost.
fn play_calmly(transport: Transport, threads: u32, calls: u32, window: usize) {
    let books = play(transport, threads, calls, window);
    let (repeated, lost) = (books.repeated.load(Ordering::Relaxed), books.lost.load(Ordering::Relaxed));
    let refused = books.turned_away.load(Ordering::Relaxed);
    assert!(repeated * 20 <= calls as usize && lost <= repeated && refused == 0, "{repeated} legs, {lost} INFO, {refused} calls");
}

#[test]
fn nothing_overtakes_in_a_call_by_datagram() {
    play_calmly(Transport::Udp, 0, 600, 16);
    play_calmly(Transport::Udp, 2, 600, 16);
}

#[test]
fn nothing_overtakes_in_a_call_by_stream() {
    play_calmly(Transport::Tcp, 0, 400, 32);
    play_calmly(Transport::Tcp, 2, 400, 32);
}

/// Over a stream, whose peers say nothing twice by themselves: half a minute.
#[test]
#[ignore = "half a minute: run by tests/run --long"]
fn nothing_overtakes_where_new_calls_are_turned_away() {
    let books = play(Transport::Tcp, 0, 3000, 3000);
    assert!(books.turned_away.load(Ordering::Relaxed) > 0, "it was no rush");
}

/// `E911D_CALLS`: how many, a quarter of them each way.
#[test]
#[ignore = "minutes: run by tests/run --long"]
fn nothing_overtakes_in_a_hundred_thousand_calls() {
    let calls = std::env::var("E911D_CALLS").map_or(100_000, |calls| calls.parse().expect("a number"));
    for (transport, threads) in [(Transport::Udp, 0), (Transport::Udp, 2), (Transport::Tcp, 0), (Transport::Tcp, 2)] {
        play_calmly(transport, threads, calls / 4, 16);
    }
}
