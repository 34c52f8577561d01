//! The built pages that are committed, and what they are built from.
#![allow(unreachable_pub)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn web() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("web")
}

fn files(of: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![of.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(of).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn node(words: &[&str]) -> (bool, String) {
    let output = Command::new("node").args(words).current_dir(web()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn the_committed_pages_are_what_their_source_is_built_to() {
    if !common::chromium::has_modules() {
        return;
    }
    let (fits, said) = node(&["node_modules/typescript/bin/tsc", "--noEmit"]);
    assert!(fits, "{said}");
    let out = tempfile::tempdir().unwrap();
    let (built, said) = node(&["build.mjs", out.path().to_str().unwrap()]);
    assert!(built, "{said}");
    let (committed, built) = (files(&web().join("dist")), files(out.path()));
    assert!(committed.keys().eq(built.keys()), "{:?}, and built {:?}", committed.keys(), built.keys());
    for (name, bytes) in &committed {
        assert!(built.get(name) == Some(bytes), "{} is not what it is built to; npm run build --prefix web", name.display());
    }
}

#[test]
fn the_lock_file_names_every_package_with_its_digest_and_no_host() {
    let text = std::fs::read_to_string(web().join("package-lock.json")).unwrap();
    let lock: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = lock["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty());
    let mut count = 0;
    for (name, package) in packages {
        count += 1;
        assert!(package["integrity"].as_str().is_some_and(|i| i.starts_with("sha512-")), "{name}");
        assert!(package.get("resolved").is_none(), "{name}");
    }
    assert!(count >= 4, "{count}");
}

/// The texts of a language by their keys.
fn texts(language: &str) -> BTreeMap<String, String> {
    let path = web().join("src/panel/words").join(format!("{language}.ts"));
    let source = std::fs::read_to_string(path).unwrap();
    let lines = source.lines().filter_map(|line| line.trim().strip_suffix("\",")?.split_once(": \""));
    lines.map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}

/// The fields that a text has, in order of their names.
fn fields(text: &str) -> Vec<&str> {
    let mut names: Vec<_> = text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn every_text_of_the_panel_is_there_in_three_languages_with_the_same_fields() {
    let english = texts("en");
    assert!(english.len() > 100, "{}", english.len());
    for language in ["es", "fr"] {
        let other = texts(language);
        assert!(english.keys().eq(other.keys()), "{language}: {:?}, English: {:?}", other.keys(), english.keys());
        for (key, text) in &english {
            assert_eq!(fields(text), fields(&other[key]), "{language}: {key}");
            let differs = text != &other[key] || ["brand"].contains(&key.as_str());
            assert!(differs, "{language}: {key} is not translated: {text}");
        }
    }
}
