//! `agent …`: what may be typed about the people who dial.
//!
//! Read [`AgentCommand`] first. What becomes of it is the [`client`](crate::daemon::client)'s business.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Reach, private};
use crate::words::Private;

/// `agent …`
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// All agents, those of the config among them
    List(Reach),
    /// Add an agent
    Add {
        /// Unique among agents
        #[arg(value_name = "ID", value_parser = private)]
        id: Private<String>,
        /// What she is like.
        #[command(flatten)]
        keys: Box<AgentKeys>,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// Change an agent; keys that are not named stay
    Set {
        /// Who
        #[arg(value_name = "ID", value_parser = private)]
        id: Private<String>,
        /// What changes.
        #[command(flatten)]
        keys: Box<AgentKeys>,
        /// Take this key away; may be given several times
        #[arg(long, value_name = "KEY")]
        clear: Vec<String>,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// Remove an agent; a lease of hers runs on
    Remove {
        /// Who
        #[arg(value_name = "ID", value_parser = private)]
        id: Private<String>,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// Add or replace all agents of a file, or none: every wrong line is named
    Import {
        /// CSV or JSON, by its name; - reads what is typed
        file: PathBuf,
        /// What it is, where its name does not say
        #[arg(long)]
        format: Option<Sheet>,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// Print the agents added at run time, for import; without their passwords
    Export {
        /// As what
        #[arg(long, default_value = "json")]
        format: Sheet,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
}

impl AgentCommand {
    /// Which daemon is meant.
    pub const fn reach(&self) -> &Reach {
        match self {
            Self::List(reach)
            | Self::Add { reach, .. }
            | Self::Set { reach, .. }
            | Self::Remove { reach, .. }
            | Self::Import { reach, .. }
            | Self::Export { reach, .. } => reach,
        }
    }
}

/// The keys of `[[agent]]` as options.
#[derive(Clone, Debug, Args)]
pub struct AgentKeys {
    /// For mails
    #[arg(long, value_parser = private)]
    pub name: Option<Private<String>>,
    /// What identifies her in a call; may be given several times
    #[arg(long, value_parser = private)]
    pub identity: Vec<Private<String>>,
    /// Her identity counts from this peer only
    #[arg(long, value_parser = private)]
    pub peer: Option<Private<String>>,
    /// A device with a fixed address, as sip:alice@10.0.0.5; may be given several times
    #[arg(long, value_name = "URI", value_parser = private)]
    pub device: Vec<Private<String>>,
    /// Rung before the desk; may be given several times
    #[arg(long, value_name = "URI", value_parser = private)]
    pub alternate: Vec<Private<String>>,
    /// Her own number
    #[arg(long, value_parser = private)]
    pub number: Option<Private<String>>,
    /// Two letters
    #[arg(long, value_parser = private)]
    pub country: Option<Private<String>>,
    /// Whose callback numbers she prefers
    #[arg(long, value_parser = private)]
    pub site: Option<Private<String>>,
    /// Of mails about her: en, es, fr
    #[arg(long, value_parser = private)]
    pub language: Option<Private<String>>,
    /// What she shows and may dial on ordinary calls
    #[arg(long, value_parser = private)]
    pub outbound_profile: Option<Private<String>>,
    /// Ordinary calls at once
    #[arg(long)]
    pub capacity: Option<u32>,
    /// No ordinary calls
    #[arg(long, value_name = "true|false")]
    pub locked: Option<bool>,
    /// Her own mailbox
    #[arg(long, value_parser = private)]
    pub mailbox: Option<Private<String>>,
    /// Told of her emergency calls, as "a@x; b@y"
    #[arg(long, value_parser = private)]
    pub contacts: Option<Private<String>>,
    /// A file whose first line is the password of her devices
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A part of her address, as street=Main St; may be given several times
    #[arg(long, value_name = "PART=TEXT", value_parser = private)]
    pub location: Vec<Private<String>>,
}

/// How agents are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sheet {
    /// RFC 4180; the first line names the columns
    Csv,
    /// A list of objects
    Json,
}
