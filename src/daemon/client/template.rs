//! `template`: the texts of mails. `edit` never loses a text: what is not taken stays in a file, and its place is said.

use super::http::{Failure, Line, escaped};
use super::{say, say_text};
use crate::daemon::cli::TemplateCommand;
use hyper::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const JSON: &str = "application/json";

/// Runs `template …`.
pub(super) async fn obey(line: &mut Line, as_json: bool, command: &TemplateCommand) -> Result<(), Failure> {
    let which = command.which();
    let path = path(&which.name, which.language.as_deref());
    match command {
        TemplateCommand::Show { .. } => {
            let shown = line.get(&path).await?;
            if as_json { say(&shown) } else { say_text(shown["text"].as_str().unwrap_or_default()) }
        }
        TemplateCommand::Set { file, .. } => {
            let sent = put(line, &path, &read(file)?, None).await?;
            if as_json { say(&sent) } else { say_text("taken\n") }
        }
        TemplateCommand::Preview { file, .. } => {
            let body = file.as_ref().map(|f| read(f)).transpose()?.map_or_else(|| json!({}), |text| json!({ "text": text }));
            let (at, language) = path.split_once('?').map_or((path.as_str(), String::new()), |(p, q)| (p, format!("?{q}")));
            let path = format!("{at}/preview{language}");
            let read = line.send(Method::POST, &path, &[], Some((JSON, body.to_string().into_bytes()))).await?.body;
            let text = |key: &str| read[key].as_str().unwrap_or_default().to_owned();
            if as_json { say(&read) } else { say_text(&format!("Subject: {}\n\n{}", text("subject"), text("text"))) }
        }
        TemplateCommand::Reset { .. } => {
            line.send(Method::DELETE, &path, &[], None).await?;
            if as_json { say(&json!({})) } else { say_text("the text that comes with the program is in use\n") }
        }
        TemplateCommand::Edit { .. } => edit(line, &path, &which.name).await,
    }
}

/// Lets somebody edit it until it is taken, or given up.
async fn edit(line: &mut Line, path: &str, name: &str) -> Result<(), Failure> {
    let shown = line.send(Method::GET, path, &[], None).await?;
    let before = shown.body["text"].as_str().unwrap_or_default().to_owned();
    let file = draft(name, &before).map_err(Failure::Written)?;
    loop {
        open_editor(&file)?;
        let text = std::fs::read_to_string(&file).map_err(|e| lost_nothing(&file, &e.to_string()))?;
        if text == before {
            let _ = std::fs::remove_file(&file);
            return say_text("not changed\n");
        }
        match put(line, path, &text, shown.etag.as_deref()).await {
            Ok(_) => {
                let _ = std::fs::remove_file(&file);
                return say_text("taken\n");
            }
            Err(Failure::Refused(refusal))
                if refusal.status == StatusCode::UNPROCESSABLE_ENTITY && again(&refusal.to_string())? => {}
            Err(failure) => return Err(lost_nothing(&file, &failure.to_string())),
        }
    }
}

/// Whether somebody there wants to go on editing.
fn again(why: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    say_text(&format!("{why}\nedit again? [Y/n] "))?;
    io::stdout().flush().map_err(Failure::Written)?;
    let mut said = String::new();
    let read = io::stdin().lock().read_line(&mut said).map_err(Failure::Written)?;
    Ok(read > 0 && !said.trim().eq_ignore_ascii_case("n"))
}

fn lost_nothing(file: &Path, why: &str) -> Failure {
    Failure::Kept { why: why.to_owned(), file: file.display().to_string() }
}

async fn put(line: &mut Line, path: &str, text: &str, etag: Option<&str>) -> Result<Value, Failure> {
    let body = json!({ "text": text }).to_string().into_bytes();
    let headers: Vec<_> = etag.map(|tag| (header::IF_MATCH, tag)).into_iter().collect();
    Ok(line.send(Method::PUT, path, &headers, Some((JSON, body))).await?.body)
}

fn open_editor(file: &Path) -> Result<(), Failure> {
    let set = |name| std::env::var(name).ok().filter(|e| !e.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // As git does: the editor may bring options of its own.
    let mut command = Command::new("sh");
    let ended = command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        _ => Err(lost_nothing(file, &format!("the editor {editor} failed; nothing was sent"))),
    }
}

/// A file of its own, which nobody else may read.
fn draft(name: &str, text: &str) -> io::Result<PathBuf> {
    let mut tries = 0;
    loop {
        let path = std::env::temp_dir().join(format!("e911d-{name}-{}-{tries}.txt", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => return file.write_all(text.as_bytes()).map(|()| path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < 100 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

/// A file, or what is typed where it is called `-`.
fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().lock().read_to_string(&mut text)
    } else {
        File::open(file).and_then(|mut f| f.read_to_string(&mut text))
    };
    read.map(|_| text).map_err(Failure::Written)
}

fn path(name: &str, language: Option<&str>) -> String {
    let language = language.map_or_else(String::new, |l| format!("?language={}", escaped(l)));
    format!("templates/{}{language}", escaped(name))
}
