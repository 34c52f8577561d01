//! The command line: what may be typed, and nothing of what it does.
//!
//! [`parse`] gives a [`Cli`] or ends the program: 0 after `--help`, 2 after a slip or a word that this version
//! lacks. `main` hands each [`Command`] to its function; [`completions`] and [`man`] are here, because they are
//! made from this description.

mod agent;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use agent::{AgentCommand, AgentKeys, Sheet};

use crate::words::Private;

/// Done.
pub const DONE: u8 = 0;
/// It failed while running.
pub const FAILED: u8 = 1;
/// Bad usage, or a bad config.
pub const BAD_USAGE: u8 = 2;

const ABOUT: &str =
    "SIP emergency gateway: 911 out over any trunk with a leased callback number, and the PSAP's call back to the very agent";

const LONG_ABOUT: &str = "\
e911d stands between telephones and the telephone network. When somebody dials 911 it places the call over the \
first trunk that takes it, shows the emergency centre a callback number that belongs to this caller alone for an \
hour, and brings the centre's call back to that very person: past queues, forwarding and do-not-disturb.";

const AFTER_HELP: &str = "\
Start here:
  e911d demo                          see a 911 call and its callback, on this machine alone
  e911d demo --panel                  dial 911 yourself, in a browser on this machine
  e911d check -c e911d.toml           every mistake of a config, with its line
  e911d route 911 -c e911d.toml       where a call would go, and why
  e911d run -c e911d.toml             the daemon, in the foreground

Every value of the config can come from the environment: E911D__NODE__NAME=gw2.
Signals of a running daemon: TERM stops it, HUP reloads its config, USR2 hands over to a new binary.

Exit codes: 0 done, 1 failed, 2 bad usage or bad config.";

/// Commands of the contract that a later version brings.
const LATER_COMMANDS: &[&str] = &["nodes"];

/// Options of the contract that a later version brings: command, option, and whether it takes a value.
const LATER_OPTIONS: &[(&str, &str, bool)] = &[("route", "socket", true), ("route", "url", true)];

/// What was typed.
#[derive(Clone, Debug, Parser)]
#[command(name = "e911d", bin_name = "e911d", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of this version.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground; logs go to stderr
    ///
    /// One line says when it answers: `ready node=gw1 udp=127.0.0.1:5060 ...`. With a bad file it starts with the
    /// last config that it accepted, and says so; where it never accepted one it exits with 2.
    Run {
        /// The config.
        #[command(flatten)]
        config: ConfigFile,
        /// Never start with the last accepted config: a bad file always exits with 2
        #[arg(long)]
        strict: bool,
        /// Let leases, quarantine, DND's hold and retries run N times faster; for tests, on loopback only
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000), hide_default_value = true)]
        time_scale: u32,
    },
    /// Play a 911 call and its callback against a real daemon, on this machine alone
    ///
    /// Needs no config and no neighbours. Exits with 0 only if every step was seen on the wire.
    Demo {
        /// Serve an agent's page instead, with a PSAP that speaks, until Ctrl-C: dial 911 in a browser
        #[arg(long)]
        panel: bool,
    },
    /// Tell every mistake of a config, then what is worth a look
    ///
    /// Exits with 2 if the daemon would not start with it.
    Check {
        /// The config.
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain where a dialed number would go, and why
    Route {
        /// What is dialed, as 911, 9911, +14255550123 or urn:service:sos
        #[arg(value_name = "NUMBER", value_parser = private, allow_hyphen_values = true)]
        number: Private<String>,
        /// The config.
        #[command(flatten)]
        config: ConfigFile,
        /// Who dials, by the agent's id; unknown otherwise
        #[arg(long, value_name = "ID", value_parser = private)]
        agent: Option<Private<String>>,
        /// Suppose that this trunk is down; may be given several times
        #[arg(long, value_name = "NAME")]
        trunk_down: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What is in place for the day, and what is to be done: per agent and site
    ///
    /// Exits with 1 if anything is missing.
    Ready {
        /// The site and this agent alone
        #[arg(long, value_name = "ID", value_parser = private)]
        agent: Option<Private<String>>,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// Place the test number as an agent would, and print each step of its path with its time
    ///
    /// No emergency centre is called. Exits with 1 if a step failed.
    TestCall {
        /// Who
        #[arg(long, value_name = "ID", value_parser = private)]
        agent: Private<String>,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// Calls that run now; emergency calls without anybody's number
    Calls(Reach),
    /// Which callback number leads to whom, and until when
    Leases(Reach),
    /// The people who dial
    Agents(Reach),
    /// Whether each trunk answers, and its numbers
    Trunks(Reach),
    /// What is wrong now
    Alarms(Reach),
    /// Ordinary calls that are over; emergency calls are in no record
    Records {
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
        /// As what it is printed; a table otherwise
        #[arg(long, conflicts_with = "json")]
        format: Option<RecordFormat>,
        /// Calls that started at this time or later, as 2025-11-22 or 2025-11-22T19:00:00Z, in UTC
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// The last N of them
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Mails and webhooks that are not delivered yet; whom they are for is not said
    Outbox(Reach),
    /// Show an agent's presence, or set it
    Presence {
        /// The agent
        #[arg(value_name = "ID", value_parser = private)]
        id: Private<String>,
        /// available, busy, away, dnd or offline; during an emergency it is what comes back after it
        state: Option<String>,
        /// A line of hers beside the state
        #[arg(long, requires = "state", value_parser = private)]
        note: Option<Private<String>>,
        /// End the do-not-disturb that stays after an emergency call
        #[arg(long)]
        dismiss: bool,
        /// Which daemon.
        #[command(flatten)]
        reach: Reach,
    },
    /// The texts of mails
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Agents added and changed at run time, beside those of the config
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// `-c FILE`
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// The config file
    #[arg(id = "config", short = 'c', long = "config", value_name = "FILE", default_value = "/etc/e911d/e911d.toml")]
    pub path: PathBuf,
}

/// Which daemon is asked, and for what kind of answer.
#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// The config, whose state directory has the daemon's socket.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub socket: Option<PathBuf>,
    /// The daemon's HTTP address, as http://127.0.0.1:8911; the token is taken from E911D_TOKEN
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How ordinary calls are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordFormat {
    /// RFC 4180
    Csv,
    /// A JSON object a line
    Jsonl,
}

/// What is asked of a daemon.
#[derive(Clone, Debug)]
pub enum What {
    /// `calls`
    Calls,
    /// `leases`
    Leases,
    /// `agents`
    Agents,
    /// `trunks`
    Trunks,
    /// `alarms`
    Alarms,
    /// `records`
    Records {
        /// As what.
        format: Option<RecordFormat>,
        /// From when on.
        since: Option<String>,
        /// How many, the last ones.
        limit: Option<usize>,
    },
    /// `agent …`
    Agent(AgentCommand),
    /// `outbox`
    Outbox,
    /// `ready`
    Ready {
        /// Her alone.
        agent: Option<Private<String>>,
    },
    /// `test-call`
    TestCall {
        /// Who.
        agent: Private<String>,
    },
    /// `presence`
    Presence {
        /// Who.
        id: Private<String>,
        /// What she becomes.
        state: Option<String>,
        /// Her note.
        note: Option<Private<String>>,
        /// Whether the hold ends.
        dismiss: bool,
    },
    /// `template …`
    Template(TemplateCommand),
}

/// `template …`
#[derive(Clone, Debug, Subcommand)]
pub enum TemplateCommand {
    /// Print the text in use
    Show {
        /// Which.
        #[command(flatten)]
        which: WhichTemplate,
    },
    /// Take a text from a file; it is read through first
    Set {
        /// Which.
        #[command(flatten)]
        which: WhichTemplate,
        /// The text; - reads what is typed
        file: PathBuf,
    },
    /// Edit it with $EDITOR; what is not taken stays in a file
    Edit {
        /// Which.
        #[command(flatten)]
        which: WhichTemplate,
    },
    /// Print what a mail would read like, with made-up values
    Preview {
        /// Which.
        #[command(flatten)]
        which: WhichTemplate,
        /// By this text instead of the one in use; - reads what is typed
        file: Option<PathBuf>,
    },
    /// Go back to the text that comes with the program
    Reset {
        /// Which.
        #[command(flatten)]
        which: WhichTemplate,
    },
}

impl TemplateCommand {
    /// Which template is meant.
    pub const fn which(&self) -> &WhichTemplate {
        match self {
            Self::Show { which }
            | Self::Set { which, .. }
            | Self::Edit { which }
            | Self::Preview { which, .. }
            | Self::Reset { which } => which,
        }
    }
}

/// A template, and which daemon has it.
#[derive(Clone, Debug, Args)]
pub struct WhichTemplate {
    /// emergency, outcome or test
    #[arg(value_parser = ["emergency", "outcome", "test"])]
    pub name: String,
    /// en, es or fr; the node's otherwise
    #[arg(long, value_parser = ["en", "es", "fr"])]
    pub language: Option<String>,
    /// Which daemon.
    #[command(flatten)]
    pub reach: Reach,
}

/// What was typed; ends the program after `--help`, `--version` and every slip.
pub fn parse() -> Cli {
    parse_from(std::env::args_os()).unwrap_or_else(|e| e.exit())
}

/// What these arguments mean, the program's name first. The error is help, version or a refusal; its
/// `exit_code` is 0 or 2.
pub fn parse_from(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = description().try_get_matches_from(args)?;
    refuse_later(&matches)?;
    Cli::from_arg_matches(&matches)
}

/// Writes completions for a shell.
pub fn completions(shell: clap_complete::Shell, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut documented(), "e911d", &mut text);
    out.write_all(&text)
}

/// Writes the manual page: the program, then each command.
pub fn man(out: &mut impl Write) -> io::Result<()> {
    let mut command = documented();
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        writeln!(out, ".SH \"COMMAND {}\"", sub.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(sub.clone());
        page.render_synopsis_section(out)?;
        page.render_description_section(out)?;
        page.render_options_section(out)?;
    }
    Ok(())
}

fn private(text: &str) -> Result<Private<String>, std::convert::Infallible> {
    Ok(Private::new(text.to_owned()))
}

/// The commands of this version, with a word about the others.
fn documented() -> clap::Command {
    Cli::command().after_help(format!("{AFTER_HELP}\nNot in this version: {}.", LATER_COMMANDS.join(", ")))
}

/// The same, knowing later commands and options so that they can be refused by name.
fn description() -> clap::Command {
    let later_command = |name: &'static str| {
        let rest = Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        clap::Command::new(name).hide(true).disable_help_flag(true).arg(rest)
    };
    let with_commands = documented().subcommands(LATER_COMMANDS.iter().copied().map(later_command));
    LATER_OPTIONS.iter().fold(with_commands, |command, (sub, option, takes_value)| {
        let action = if *takes_value { ArgAction::Append } else { ArgAction::SetTrue };
        command.mut_subcommand(*sub, |c| c.arg(Arg::new(*option).long(*option).hide(true).action(action)))
    })
}

fn refuse_later(matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, arguments)) = matches.subcommand() else { return Ok(()) };
    if LATER_COMMANDS.contains(&name) {
        return Err(not_in_this_version(&format!("e911d {name}")));
    }
    let is_used = |option: &str| arguments.value_source(option) == Some(clap::parser::ValueSource::CommandLine);
    match LATER_OPTIONS.iter().find(|(sub, option, _)| *sub == name && is_used(option)) {
        Some((sub, option, _)) => Err(not_in_this_version(&format!("e911d {sub} --{option}"))),
        None => Ok(()),
    }
}

fn not_in_this_version(what: &str) -> clap::Error {
    description().error(ErrorKind::InvalidSubcommand, format!("{what} is not in this version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Cli, clap::Error> {
        parse_from(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_description_is_sound() {
        description().debug_assert();
    }

    #[test]
    fn each_command_is_understood() {
        assert!(
            matches!(typed("e911d run -c x.toml --strict").expect("run").command, Command::Run { config, strict: true, time_scale: 1 } if config.path == *"x.toml")
        );
        assert!(
            matches!(typed("e911d check").expect("check").command, Command::Check { config, json: false } if config.path == *"/etc/e911d/e911d.toml")
        );
        assert!(matches!(typed("e911d demo").expect("demo").command, Command::Demo { panel: false }));
        assert!(matches!(typed("e911d demo --panel").expect("demo").command, Command::Demo { panel: true }));
        assert!(matches!(typed("e911d man").expect("man").command, Command::Man));
        assert!(matches!(typed("e911d completions bash").expect("completions").command, Command::Completions { .. }));
        let Command::Route { number, agent, trunk_down, .. } =
            typed("e911d route +1911 -c x --agent alice --trunk-down a --trunk-down b").expect("route").command
        else {
            panic!("not route")
        };
        assert_eq!(number.reveal(), "+1911");
        assert_eq!(agent.as_ref().map(|a| a.reveal().as_str()), Some("alice"));
        assert_eq!(trunk_down, ["a", "b"]);
    }

    #[test]
    fn what_this_version_lacks_is_refused_by_name_and_with_2() {
        let lines = LATER_COMMANDS.iter().map(|c| format!("e911d {c}"));
        let others = ["e911d nodes --json", "e911d nodes --help", "e911d route 911 --url http://127.0.0.1"];
        for line in lines.chain(others.map(str::to_owned)) {
            let refusal = typed(&line).expect_err(&line);
            assert_eq!(refusal.exit_code(), 2, "{line}");
            assert!(refusal.to_string().contains("not in this version"), "{line}: {refusal}");
        }
    }

    #[test]
    fn a_slip_is_2_and_help_is_0() {
        for line in ["e911d", "e911d rnu", "e911d run --frobnicate", "e911d route", "e911d completions tcl"] {
            let refusal = typed(line).expect_err(line);
            assert_eq!(refusal.exit_code(), 2, "{line}");
            assert!(!refusal.to_string().contains("not in this version: "), "{line}");
        }
        for line in ["e911d --help", "e911d -h", "e911d --version", "e911d run --help", "e911d help check"] {
            assert_eq!(typed(line).expect_err(line).exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn help_says_what_it_is_and_how_to_begin_and_what_the_exit_codes_mean() {
        let help = typed("e911d --help").expect_err("help").to_string();
        for word in ["911", "e911d demo", "Exit codes: 0", "Not in this version: ", "run", "check", "route"] {
            assert!(help.contains(word), "no \"{word}\" in:\n{help}");
        }
    }

    #[test]
    fn completions_and_the_manual_name_the_commands_of_this_version() {
        let mut text = Vec::new();
        man(&mut text).expect("written");
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            completions(shell, &mut text).expect("written");
        }
        let text = String::from_utf8(text).expect("text");
        for word in ["trunk\\-down", "COMMAND CHECK", "completions", "Exit codes"] {
            assert!(text.contains(word), "no \"{word}\"");
        }
        assert!(text.contains("panel"));
    }
}
