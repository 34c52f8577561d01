//! A small configuration for whoever tests: unit tests, `tests/` and the fuzzers, which see nothing but this library.
//!
//! Nothing of the daemon reads it. [`TOML`] is the text, [`changed`] the same with something else in places, [`assembled`] what
//! shards run on.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::assemble::{Assembled, assemble_at};
use super::config::{self, Config};

/// A PBX at port 15090, trunks `a` (15070), `b` (15071) and `carrier` (15080), the first two with four callback numbers each, all
/// on loopback over UDP; agent bob with two telephones; a desk.
pub const TOML: &str = r#"
[node]
name = "gw1"
domain = "gw.example.net"
state_dir = "/tmp"
country = "US"
[[listen]]
transport = "udp"
bind = "127.0.0.1:15060"
[[peer]]
name = "pbx"
uri = "sip:127.0.0.1:15090"
sources = ["127.0.0.1:15090"]
[[trunk]]
name = "a"
path = "direct-routing"
uri = "sip:127.0.0.1:15070"
sources = ["127.0.0.1:15070"]
options = "0s"
callback_numbers = ["+12000000100-+12000000103"]
[[trunk]]
name = "b"
path = "direct-routing"
uri = "sip:127.0.0.1:15071"
sources = ["127.0.0.1:15071"]
options = "0s"
callback_numbers = ["+12000000200-+12000000203"]
[[trunk]]
name = "carrier"
path = "direct-routing"
uri = "sip:127.0.0.1:15080"
sources = ["127.0.0.1:15080"]
options = "0s"
[[voice_route]]
name = "local-emergency"
pattern = '^911$'
trunks = ["a", "b"]
emergency = true
[[voice_route]]
name = "all"
pattern = '^\+?1[2-9]\d{9}$'
trunks = ["carrier", "a"]
[routing]
inbound = "pbx"
[callback]
desk = "sip:security@127.0.0.1:15095"
[[agent]]
id = "bob"
name = "Bob"
identity = ["bob"]
peer = "pbx"
devices = ["sip:bob@127.0.0.1:15091", "sip:bob-2@127.0.0.1:15092"]
contacts = "lead@example.com"
"#;

/// When its machine was booted: no clock is read for it.
const BOOTED: Duration = Duration::from_secs(1_763_839_491);

/// [`TOML`] with each of these replaced, in order, wherever it stands. Panics where one is nowhere: the test meant something else.
pub fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(TOML.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "not in the small configuration: {old}");
        text.replace(old, new)
    })
}

/// What is read from a text. Panics with every mistake in it.
pub fn read(text: &str) -> Config {
    config::read(text, Path::new("small.toml"), std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// What so many shards run on with this text, its listeners bound where they say; `before` is what ran until then. Panics
/// where it is not usable.
pub fn assembled(text: &str, secret: u64, shards: u8, before: Option<&Assembled>) -> Assembled {
    let config = read(text);
    let bound: Vec<SocketAddr> = config.listen.iter().map(|listen| listen.bind).collect();
    assemble_at(&config, &bound, secret, shards, before, BOOTED).unwrap_or_else(|why| panic!("{why}"))
}
