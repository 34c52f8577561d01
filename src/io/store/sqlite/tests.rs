//! The store as its users see it, on disks of all kinds.

use super::file::NAME;
use super::*;
use crate::words::Row;
use std::fs;
use std::sync::Mutex;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// A store and what became of its alarm.
struct Open {
    opened: Opened,
    alarm: Arc<Mutex<Vec<bool>>>,
}

impl Open {
    fn new(dir: &Path) -> Self {
        Self::in_boot(dir, "boot one")
    }

    fn in_boot(dir: &Path, boot: &str) -> Self {
        Self::by(open, dir, boot)
    }

    fn by(open: fn(&Path, &str, Duration, StoreFailed) -> Result<Opened, Taken>, dir: &Path, boot: &str) -> Self {
        let alarm = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&alarm);
        let store_failed = Box::new(move |failed| told.lock().expect("no panic").push(failed));
        Self { opened: open(dir, boot, SOON, store_failed).expect("nobody else has it"), alarm }
    }

    fn keep(&self, key: &str, value: &str) {
        self.opened.keeper.keep(Row::keep(Table::Lease, key, value.as_bytes().to_vec()));
    }

    fn forget(&self, key: &str) {
        self.opened.keeper.keep(Row::forget(Table::Lease, key));
    }

    fn flush(&self) -> bool {
        self.opened.keeper.flush(SOON)
    }

    fn close(self) {
        assert!(self.opened.keeper.close(SOON));
    }

    fn leases(&self) -> Vec<(String, String)> {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).expect("text");
        self.opened.saved.rows(Table::Lease).map(|(k, v)| (k.to_owned(), text(v))).collect()
    }

    /// Waits until the alarm was told so many times.
    fn alarms(&self, count: usize) -> Vec<bool> {
        let deadline = clock::now() + SOON;
        loop {
            let told = self.alarm.lock().expect("no panic").clone();
            if told.len() >= count || clock::now() > deadline {
                return told;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Every byte of every file.
fn bytes(dir: &Path) -> Vec<u8> {
    let files = fs::read_dir(dir).expect("a directory").flatten();
    files.flat_map(|f| fs::read(f.path()).expect("a readable file")).collect()
}

fn holds(dir: &Path, what: &str) -> bool {
    memchr::memmem::find(&bytes(dir), what.as_bytes()).is_some()
}

fn until(what: impl Fn() -> bool) -> bool {
    let deadline = clock::now() + SOON;
    while !what() {
        if clock::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn b2_an_heir_reads_what_is_there_and_writes_once_its_predecessor_has_let_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let before = Open::new(dir.path());
    before.keep("a", "1");
    before.opened.keeper.settled();
    assert!(before.flush());
    assert!(open(dir.path(), "boot one", SOON, Box::new(|_| {})).is_err(), "nobody else");
    let heir = Open::by(inherit, dir.path(), "boot one");
    assert_eq!(heir.leases(), [("a".to_owned(), "1".to_owned())]);
    assert!(heir.opened.saved.same_boot);
    heir.keep("b", "2");
    assert_eq!(heir.alarms(1), [true]);
    before.close();
    assert!(heir.flush());
    heir.close();
    let all = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    assert_eq!(Open::new(dir.path()).leases(), all);
}

#[test]
fn the_sqlite_that_is_built_in_has_no_wal_reset_bug() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[test]
fn b1_rows_are_there_again_in_the_order_of_their_keys() {
    let dir = dir();
    let store = Open::new(dir.path());
    assert!(store.leases().is_empty() && !store.opened.saved.clean);
    store.keep("b", "1");
    store.keep("a", "1");
    store.keep("a", "2");
    store.keep("c", "1");
    assert!(store.flush());
    store.forget("c");
    store.close();
    let store = Open::new(dir.path());
    assert_eq!(store.leases(), [pair("a", "2"), pair("b", "1")]);
    assert!(store.opened.saved.clean);
    assert!(store.alarms(0).is_empty());
}

#[test]
fn l1_a_call_is_told_once_for_each_row_when_it_is_durable() {
    let dir = dir();
    let mut store = Open::new(dir.path());
    for value in [1, 2] {
        let row = Row::keep(Table::Lease, "a", vec![value]);
        assert_eq!(store.opened.store.commit(CallId(7), row), Written::Later);
    }
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut told = 0;
    assert!(store.flush());
    while store.opened.store.poll_written(&mut cx) == Poll::Ready(CallId(7)) {
        told += 1;
    }
    assert_eq!(told, 2);
}

#[test]
fn a_store_that_was_not_closed_is_not_clean_and_has_everything_that_was_flushed() {
    let dir = dir();
    Open::new(dir.path()).close();
    let store = Open::new(dir.path());
    assert!(store.opened.saved.clean);
    store.keep("a", "1");
    assert!(store.flush());
    let copy = self::dir();
    for file in fs::read_dir(dir.path()).expect("a directory").flatten() {
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    let store = Open::new(copy.path());
    assert_eq!(store.leases(), [pair("a", "1")]);
    assert!(!store.opened.saved.clean);
}

#[test]
fn the_secret_stays_and_the_era_is_another_one_in_each_process() {
    let dir = dir();
    let first = Open::new(dir.path());
    let (secret, era) = (first.opened.saved.secret, first.opened.saved.era);
    assert!(secret.is_some());
    first.close();
    let second = Open::new(dir.path());
    assert_eq!((second.opened.saved.secret, second.opened.saved.era), (secret, era + 1));
}

#[test]
fn l2_times_are_this_boots_once_the_restored_rows_were_written_again() {
    let dir = dir();
    let same = |boot: &str, settle: bool| {
        let store = Open::in_boot(dir.path(), boot);
        if settle {
            store.opened.keeper.settled();
        }
        let same = store.opened.saved.same_boot;
        store.close();
        same
    };
    assert!(!same("one", true));
    assert!(same("one", true));
    assert!(!same("two", false));
    assert!(!same("two", true));
    assert!(same("two", false));
    assert!(!same("", true));
}

#[test]
fn two_daemons_do_not_share_a_state_directory() {
    let dir = dir();
    let first = Open::new(dir.path());
    let second = open(dir.path(), "boot one", SOON, Box::new(|_| {}));
    assert!(second.err().expect("it is taken").to_string().contains("in use"));
    first.keep("a", "1");
    first.close();
    assert_eq!(Open::new(dir.path()).leases(), [pair("a", "1")]);
}

#[test]
fn a7_what_was_forgotten_or_replaced_is_nowhere_in_the_files() {
    let dir = dir();
    let store = Open::new(dir.path());
    let canary = |n: usize| format!("canary-{n:05}-+1425555{n:04}");
    let long = |n: usize| format!("{}{}", canary(n), "x".repeat(if n.is_multiple_of(50) { 9000 } else { n % 700 }));
    for n in 0..1000 {
        store.keep(&canary(n), &long(n));
    }
    assert!(store.flush() && holds(dir.path(), &canary(500)));
    for n in (0..1000).step_by(3) {
        store.keep(&canary(n), "replaced");
    }
    assert!(store.flush());
    for n in (0..1000).filter(|n| n % 7 != 0) {
        store.forget(&canary(n));
    }
    assert!(store.flush());
    assert!(until(|| fs::metadata(dir.path().join("e911d.db-wal")).is_ok_and(|m| m.len() == 0)), "the log is not emptied");
    let all = bytes(dir.path());
    for n in 0..1000 {
        let found = memchr::memmem::find_iter(&all, canary(n).as_bytes()).count();
        let replaced = n % 3 == 0;
        let expected = match (n % 7 == 0, replaced) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        };
        assert_eq!(found, expected, "{n}");
    }
}

#[test]
fn ordinary_records_are_numbered_as_they_come_and_read_newest_first() {
    let dir = dir();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = Open::new(dir.path());
    for n in 0..5u8 {
        store.opened.keeper.keep(Row::keep(Table::Record, "", vec![n]));
    }
    assert!(store.flush());
    store.opened.keeper.keep(Row::forget(Table::Record, "2"));
    assert!(store.flush());
    let read = |store: &Open, below| runtime.block_on(store.opened.keeper.records(below, 2));
    assert_eq!(read(&store, i64::MAX), [(5, vec![4]), (4, vec![3])]);
    assert_eq!(read(&store, 4), [(3, vec![2]), (1, vec![0])]);
    store.close();
    let store = Open::new(dir.path());
    store.opened.keeper.keep(Row::keep(Table::Record, "", vec![9]));
    assert!(store.flush());
    assert_eq!(read(&store, i64::MAX), [(6, vec![9]), (5, vec![4])]);
}

#[test]
fn b3_a_record_never_takes_the_place_of_another_one() {
    let dir = dir();
    let store = Open::new(dir.path());
    let keep = |key: &str, value: u8| store.opened.keeper.keep(Row::keep(Table::Record, key, vec![value]));
    keep("1", 1);
    keep("2", 2);
    assert!(store.flush());
    keep("2", 2);
    keep("1", 9);
    assert!(store.flush());
    store.close();
    let store = Open::new(dir.path());
    let rows: Vec<_> = store.opened.saved.rows(Table::Record).map(|(k, v)| (k.to_owned(), v.to_vec())).collect();
    assert_eq!(rows, [("1".to_owned(), vec![1]), ("2".to_owned(), vec![2]), ("3".to_owned(), vec![9])]);
}

#[test]
fn b3_a_missing_state_directory_raises_the_alarm_and_gets_everything_once_it_is_there() {
    let parent = dir();
    let missing = parent.path().join("not/there");
    let store = Open::new(&missing);
    store.keep("a", "1");
    assert_eq!(store.alarms(1), [true]);
    fs::create_dir_all(&missing).expect("made");
    assert_eq!(store.alarms(2), [true, false]);
    store.keep("b", "1");
    assert!(store.flush());
    store.close();
    assert_eq!(Open::new(&missing).leases(), [pair("a", "1"), pair("b", "1")]);
}

#[test]
fn b3_what_the_log_no_longer_holds_can_be_seen_without_opening_anything_for_writing() {
    let parent = dir();
    let odd = parent.path().join("100%25 odd?mode=rw#é");
    fs::create_dir(&odd).expect("made");
    let store = Open::new(&odd);
    store.keep("a", "1");
    store.opened.keeper.settled();
    assert!(store.flush());
    assert!(until(|| fs::metadata(odd.join("e911d.db-wal")).is_ok_and(|m| m.len() == 0)), "the log is not emptied");
    store.keep("later", "1");
    assert!(store.flush());
    let seen = file::glimpse(&odd, "boot one", &AtomicU64::new(0));
    assert_eq!(seen.rows(Table::Lease).map(|(key, _)| key).collect::<Vec<_>>(), ["a"]);
    assert!(seen.same_boot && !seen.clean && seen.secret.is_some());
    assert!(file::glimpse(&dir().path().join("none"), "boot one", &AtomicU64::new(0)).rows(Table::Lease).next().is_none());
}

#[test]
fn b3_a_state_directory_that_is_gone_takes_nothing_with_it() {
    let parent = dir();
    let (here, away) = (parent.path().join("here"), parent.path().join("away"));
    fs::create_dir(&here).expect("made");
    let store = Open::new(&here);
    store.keep("a", "1");
    assert!(store.flush());
    fs::rename(&here, &away).expect("moved");
    assert_eq!(store.alarms(1), [true]);
    store.keep("b", "1");
    fs::create_dir(&here).expect("made");
    assert_eq!(store.alarms(2), [true, false]);
    assert!(store.flush());
    store.close();
    assert_eq!(Open::new(&here).leases(), [pair("a", "1"), pair("b", "1")]);
}

#[test]
fn a_damaged_file_is_set_aside_and_what_can_be_read_of_it_is_kept() {
    let dir = dir();
    let store = Open::new(dir.path());
    for n in 0..300 {
        store.keep(&format!("{n:04}"), &"x".repeat(600));
    }
    assert!(store.flush());
    store.close();
    let path = dir.path().join(NAME);
    let whole = fs::read(&path).expect("readable");
    let (mut starts, mut rows) = (0, Vec::new());
    for at in [0, 18, 100, 4096 + 3, 4096 * 3 + 5, 4096 * 20 + 2000, whole.len() - 4000] {
        let mut damaged = whole.clone();
        damaged[at..at + 64.min(whole.len() - at)].fill(0xA5);
        fs::write(&path, damaged).expect("written");
        let store = Open::new(dir.path());
        rows.push(store.leases().len());
        assert!(store.leases().iter().all(|(_, v)| *v == "x".repeat(600)));
        store.keep("new", "1");
        assert!(store.flush());
        if fs::read_dir(dir.path()).expect("a directory").flatten().any(|f| f.file_name().to_string_lossy().contains(".damaged-"))
        {
            starts += 1;
            assert_eq!(store.alarms(1), [true]);
        }
        store.close();
        for file in fs::read_dir(dir.path()).expect("a directory").flatten() {
            fs::remove_file(file.path()).expect("removed");
        }
    }
    assert!(starts >= 5, "{starts} of 7 were noticed");
    assert!(rows.iter().any(|n| (200..300).contains(n)), "nothing was salvaged: {rows:?}");
}

#[test]
fn random_damage_never_stops_a_start_and_never_changes_a_row() {
    let dir = dir();
    let store = Open::new(dir.path());
    for n in 0..200 {
        store.keep(&format!("{n:04}"), &format!("{n:04}").repeat(50));
    }
    assert!(store.flush());
    store.close();
    let path = dir.path().join(NAME);
    let whole = fs::read(&path).expect("readable");
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    for _ in 0..60 {
        let mut damaged = whole.clone();
        for _ in 0..1 + random() % 20 {
            damaged[random() % whole.len()] ^= 1 << (random() % 8);
        }
        fs::write(&path, damaged).expect("written");
        let store = Open::new(dir.path());
        assert!(store.leases().iter().all(|(k, v)| *v == k.repeat(50)));
        store.keep("new", "1");
        assert!(store.flush());
        store.close();
        let store = Open::new(dir.path());
        assert!(store.leases().contains(&pair("new", "1")));
        store.close();
        for file in fs::read_dir(dir.path()).expect("a directory").flatten() {
            fs::remove_file(file.path()).expect("removed");
        }
    }
}

#[test]
fn a_zeroed_or_torn_log_costs_its_own_rows_and_no_others() {
    let dir = dir();
    let store = Open::new(dir.path());
    store.keep("old", "1");
    store.close();
    let store = Open::new(dir.path());
    store.keep("new", "1");
    assert!(store.flush());
    let (db, log) = (dir.path().join(NAME), dir.path().join("e911d.db-wal"));
    let (db, log) = (fs::read(db).expect("readable"), fs::read(log).expect("readable"));
    assert!(!log.is_empty());
    for log in [vec![0; log.len()], log[..log.len() / 2].to_vec(), vec![0xFF; 100]] {
        let copy = self::dir();
        fs::write(copy.path().join(NAME), &db).expect("written");
        fs::write(copy.path().join("e911d.db-wal"), log).expect("written");
        let store = Open::new(copy.path());
        assert!(store.leases().contains(&pair("old", "1")));
        store.keep("newer", "1");
        assert!(store.flush());
    }
}

#[test]
fn a_database_of_a_later_version_is_not_touched() {
    let dir = dir();
    let store = Open::new(dir.path());
    store.keep("a", "1");
    store.close();
    let path = dir.path().join(NAME);
    let db = rusqlite::Connection::open(&path).expect("opened");
    db.pragma_update(None, "user_version", 1000).expect("written");
    db.close().expect("closed");
    let before = fs::read(&path).expect("readable");
    let store = Open::new(dir.path());
    assert!(store.leases().is_empty());
    store.keep("b", "1");
    assert_eq!(store.alarms(1), [true]);
    assert!(!store.opened.keeper.flush(Duration::from_millis(1500)));
    assert_eq!(fs::read(&path).expect("readable"), before);
}

#[test]
fn an_older_database_takes_the_steps_that_it_lacks_and_keeps_its_rows() {
    let dir = dir();
    let mut db = rusqlite::Connection::open(dir.path().join(NAME)).expect("opened");
    schema::migrate(&mut db, &schema::STEPS[..1]).expect("version 1");
    db.execute("INSERT INTO lease(key, value, sum) VALUES('a', x'31', 1)", []).expect("written");
    let later: Vec<_> = schema::STEPS[..1].iter().copied().chain(["ALTER TABLE lease ADD COLUMN more INTEGER"]).collect();
    schema::migrate(&mut db, &later).expect("version 2");
    schema::migrate(&mut db, &later).expect("again, which changes nothing");
    assert_eq!(schema::version(&db).expect("readable"), 2);
    let row = db.query_row("SELECT value, more FROM lease WHERE key = 'a'", [], |r| Ok((r.get(0)?, r.get(1)?)));
    assert_eq!(row.expect("it is there"), (b"1".to_vec(), None::<i64>));
    let broken: Vec<_> = later.iter().copied().chain(["CREATE TABLE x(y); CREATE TABLE x(y)"]).collect();
    assert!(schema::migrate(&mut db, &broken).is_err());
    assert_eq!(schema::version(&db).expect("readable"), 2);
    assert!(matches!(schema::migrate(&mut db, &schema::STEPS[..1]), Err(file::Trouble::Newer)));
}
