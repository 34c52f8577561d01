//! A node that has been busy: a state directory with as many open leases and agents as one likes, made by the store itself.

use std::path::Path;
use std::time::Duration;

use e911d::io::clock;
use e911d::io::store::sqlite;
use e911d::words::{Row, Table};
use serde_json::{Value, json};

/// The first callback number of [`numbers`].
const FIRST: u64 = 12_120_000_000;
/// Numbers that nobody has.
const FREE: u32 = 1_000;

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    /// Open leases. The first ones are the agents', the others those of people whom only the PBX knows.
    pub leases: u32,
    /// Agents added at run time.
    pub agents: u32,
}

/// What the machine has done since the leases were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    SameBoot,
    /// It was booted.
    Reboot,
}

impl Large {
    /// `callback_numbers` of the trunk: those of the leases and some more.
    pub fn numbers(self) -> String {
        format!("+{FIRST}-+{}", FIRST + u64::from(self.leases + FREE) - 1)
    }

    /// The number of this lease.
    pub fn number(self, lease: u32) -> String {
        format!("+{}", FIRST + u64::from(lease))
    }

    /// Who has this lease, as the PBX calls her.
    pub fn holder(self, lease: u32) -> String {
        if lease < self.agents { agent(lease) } else { format!("guest{lease}") }
    }

    /// Fills a state directory that is not in use.
    pub fn fill(self, state: &Path, since: Since) {
        let boot = if since == Since::Reboot { "the boot before".to_owned() } else { clock::boot_id() };
        let opened = sqlite::open(state, &boot, Duration::from_secs(3600), Box::new(|_| {})).expect("a directory of our own");
        let now = clock::now().as_micros();
        for lease in 0..self.leases {
            let value = self.lease(lease, now).to_string().into_bytes();
            opened.keeper.keep(Row::keep(Table::Lease, format!("{}.{}", self.number(lease), lease + 1), value));
        }
        for n in 0..self.agents {
            opened.keeper.keep(Row::keep(Table::Agent, agent(n), document(n).to_string().into_bytes()));
        }
        opened.keeper.settled();
        assert!(opened.keeper.flush(Duration::from_secs(60)), "the disk takes it");
        assert!(opened.keeper.close(Duration::from_secs(60)), "the disk takes it");
    }

    fn lease(self, lease: u32, now: u64) -> Value {
        let caller = if lease < self.agents {
            let contacts = [format!("lead{}@example.com", lease % 50), "security@example.com".to_owned()];
            let name = format!("Agent Number {lease}");
            json!({ "peer": "pbx", "agent": { "id": agent(lease), "name": name, "identity": [agent(lease)], "peer": "pbx",
                    "devices": [], "language": "en", "contacts": contacts } })
        } else {
            let user = self.holder(lease);
            json!({ "peer": "pbx", "unknown": [format!("pbx {user}@pbx.example.com {user}"), user] })
        };
        json!({ "format": 1, "lease": u64::from(lease) + 1, "trunk": "carrier-a", "rung": "free", "owned": true,
                "dialed": now, "expires": now + 3_600_000_000, "test": false, "number": "911", "path": "direct-routing",
                "caller": caller })
    }
}

/// The id of an agent, and her identity at the PBX.
pub fn agent(n: u32) -> String {
    format!("agent{n}")
}

/// An agent in the keys of `[[agent]]`.
pub fn document(n: u32) -> Value {
    let contacts = format!("lead{}@example.com; security@example.com", n % 50);
    json!({ "id": agent(n), "name": format!("Agent Number {n}"), "identity": [agent(n)], "peer": "pbx", "contacts": contacts })
}
