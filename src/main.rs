//! Arguments, then the command's function.

use e911d::daemon::cli::{self, BAD_USAGE, Cli, Command, DONE, FAILED, What};
use e911d::daemon::{assemble, client, config, demo, run};
use e911d::emergency::path::{agent_by_id, explain};
use e911d::words::Private;
use std::io::{self, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Cli { command } = cli::parse();
    match command {
        Command::Run { config, strict, time_scale } => run::run(&config.path, strict, time_scale),
        Command::Demo { panel: false } => demo::demo(),
        Command::Demo { panel: true } => demo::panel(),
        Command::Check { config, json } => check(&config.path, json),
        Command::Route { number, config, agent, trunk_down, json } => {
            route(&config.path, &number, agent.as_ref(), &trunk_down, json)
        }
        Command::Ready { agent, reach } => client::run(&reach, &What::Ready { agent }),
        Command::TestCall { agent, reach } => client::run(&reach, &What::TestCall { agent }),
        Command::Calls(reach) => client::run(&reach, &What::Calls),
        Command::Leases(reach) => client::run(&reach, &What::Leases),
        Command::Agents(reach) => client::run(&reach, &What::Agents),
        Command::Trunks(reach) => client::run(&reach, &What::Trunks),
        Command::Alarms(reach) => client::run(&reach, &What::Alarms),
        Command::Records { reach, format, since, limit } => client::run(&reach, &What::Records { format, since, limit }),
        Command::Outbox(reach) => client::run(&reach, &What::Outbox),
        Command::Presence { id, state, note, dismiss, reach } => {
            client::run(&reach, &What::Presence { id, state, note, dismiss })
        }
        Command::Template(command) => client::run(&command.which().reach.clone(), &What::Template(command)),
        Command::Agent(command) => client::run(&command.reach().clone(), &What::Agent(command)),
        Command::Completions { shell } => written(cli::completions(shell, &mut stdout().lock())),
        Command::Man => written(cli::man(&mut stdout().lock())),
    }
}

/// Every mistake at once, then what is worth a look.
fn check(file: &Path, json: bool) -> ExitCode {
    let report = config::check(file, std::env::vars());
    let text = if json { report.to_json() } else { report.to_string() };
    let _ = writeln!(stdout(), "{text}");
    ExitCode::from(if report.is_good() { DONE } else { BAD_USAGE })
}

/// Where a dialed number would go, and why.
fn route(file: &Path, number: &Private<String>, agent: Option<&Private<String>>, down: &[String], json: bool) -> ExitCode {
    let config = match config::load(file, std::env::vars()) {
        Ok(config) => config,
        Err(mistakes) => return bad_usage(&mistakes.to_string()),
    };
    let site = match assemble::site(&config, 0) {
        Ok(site) => site,
        Err(why) => return bad_usage(&why.to_string()),
    };
    let agent = match agent.map(|id| agent_by_id(&site, id.reveal())) {
        Some(None) => return bad_usage("no agent has that id"),
        known => known.flatten(),
    };
    let mut trunks = Vec::new();
    for name in down {
        match site.trunk_ids().find(|(_, t)| t.name == *name) {
            Some((id, _)) => trunks.push(id),
            None => return bad_usage(&format!("there is no trunk \"{name}\"")),
        }
    }
    let explanation = explain(&site, number.reveal(), agent, &trunks);
    let text = if json {
        let lines: Vec<_> = explanation.lines().map(|(what, how)| serde_json::json!({"what": what, "how": how})).collect();
        serde_json::json!({ "lines": lines }).to_string()
    } else {
        explanation.to_string()
    };
    written(writeln!(stdout(), "{}", text.trim_end()))
}

fn bad_usage(why: &str) -> ExitCode {
    let _ = writeln!(stderr(), "{why}");
    ExitCode::from(BAD_USAGE)
}

/// Nobody who stopped reading is told so.
fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
        _ => ExitCode::from(DONE),
    }
}
