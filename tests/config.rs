//! The configuration as an operator meets it: the shipped files load, and every mistake is told at once, with
//! its line, its key and a word that helps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e911d::daemon::config::{self, Config, Mistakes, Place, SipTarget, Weight};

/// A config that loads; each line is there to be replaced.
const GOOD: &str = r#"[node]
state_dir = "/var/lib/e911d"
[[listen]]
transport = "udp"
bind = "127.0.0.1:5060"
[[listen]]
transport = "tcp"
bind = "127.0.0.1:5060"
[[peer]]
name = "pbx"
uri = "sip:127.0.0.1:5070"
site = "redmond"
[[peer]]
name = "other"
uri = "sip:127.0.0.2:5070;transport=tcp"
[[trunk]]
name = "carrier-a"
uri = "sip:127.0.0.1:5080"
callback_numbers = ["+14255550100-+14255550149"]
[[trunk]]
name = "carrier-b"
uri = "sip:127.0.0.2:5080"
callback_numbers = ["+14255550200", "+14255550201"]
[[callback_pool]]
trunk = "carrier-a"
site = "redmond"
numbers = ["+14255550150-+14255550159"]
[[voice_route]]
name = "emergency"
pattern = '^\+?911$'
trunks = ["carrier-a", "carrier-b"]
emergency = true
[routing]
inbound = "pbx"
[emergency]
prefixes = ["9"]
masks = { "112" = "911" }
[callback]
ttl = "60m"
[[agent]]
id = "alice"
number = "+14255551234"
peer = "pbx"
[notify]
from = "e911@example.com"
[[outbound_profile]]
name = "support"
"#;

fn read(text: &str, env: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    config::read(text, Path::new("test.toml"), env)
}

fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|l| l.contains(needle)).map_or(0, |i| i + 1)
}

/// Replaces `old` by `new` in the good config and expects exactly one mistake, at the line of `new`.
fn one_mistake(old: &str, new: &str, key: &str, word: &str) {
    assert!(GOOD.contains(old), "{old} is in the good config");
    let text = GOOD.replacen(old, new, 1);
    let Err(mistakes) = read(&text, &[]) else { panic!("{new} was accepted") };
    let shown = mistakes.to_string();
    let [only] = mistakes.0.as_slice() else { panic!("one mistake expected for {new}:\n{shown}") };
    assert_eq!(only.key, key, "{new}: {shown}");
    assert!(only.what.contains(word), "{new}: no \"{word}\" in: {shown}");
    if !new.is_empty() {
        let before = GOOD.split(old).next().unwrap_or_default();
        let begin = before.matches('\n').count() + 1;
        let lines = begin..begin + new.lines().count();
        let Place::Line(file, line) = &only.place else { panic!("{new}: {shown}") };
        assert_eq!(file, Path::new("test.toml"));
        assert!(lines.contains(line), "{new}: line {line} is not in {lines:?}: {shown}");
    }
}

#[test]
fn the_good_config_of_this_table_loads() {
    let config = read(GOOD, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.peers.len(), config.trunks.len(), config.agents.len()), (2, 2, 1));
    assert_eq!(config.agents[0].peer, Some(0));
    assert_eq!(config.voice_routes[0].trunks, [0, 1]);
    assert_eq!(config.callback.ttl, Duration::from_secs(3600));
    assert_eq!(config.node.domain, "127.0.0.1");
    assert_eq!(config.http.bind.to_string(), "127.0.0.1:8911");
}

#[test]
fn a_mistake_is_told_with_its_line_its_key_and_a_word_that_helps() {
    let uri_a = "uri = \"sip:127.0.0.1:5080\"";
    let table: &[(&str, &str, &str, &str)] = &[
        // Unknown keys and sections.
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nsoruces = []", "trunk[0].soruces", "\"sources\""),
        // Whoever is called must be reached from a listener.
        (uri_a, "uri = \"sip:[::1]:5080\"\nsources = [\"127.0.0.1\"]", "trunk[0].uri", "no [[listen]]"),
        ("[callback]\n", "[callback]\ncolour = 1\n", "callback.colour", "unknown key"),
        ("[notify]", "[notfy]\n[notify]", "notfy", "\"notify\""),
        ("[notify]", "[logging]\n[notify]", "logging", "unknown section"),
        // Wrong types.
        ("name = \"pbx\"", "name = 5", "peer[0].name", "text"),
        ("emergency = true", "emergency = \"yes\"", "voice_route[0].emergency", "true or false"),
        ("prefixes = [\"9\"]", "prefixes = \"9\"", "emergency.prefixes", "list"),
        ("prefixes = [\"9\"]", "prefixes = [9]", "emergency.prefixes[0]", "text"),
        ("masks = { \"112\" = \"911\" }", "masks = \"112\"", "emergency.masks", "table"),
        ("id = \"alice\"", "id = \"alice\"\ncapacity = -1", "agent[0].capacity", "whole number"),
        ("[routing]\n", "[[routing]]\n", "routing", "[routing]"),
        ("[[outbound_profile]]\n", "[outbound_profile]\n", "outbound_profile", "[[outbound_profile]]"),
        // Missing and required.
        ("state_dir = \"/var/lib/e911d\"\n", "", "node.state_dir", "required"),
        ("transport = \"udp\"\n", "", "listen[0].transport", "required"),
        ("name = \"support\"\n", "", "outbound_profile[0].name", "required"),
        ("pattern = '^\\+?911$'\n", "", "voice_route[0].pattern", "required"),
        ("numbers = [\"+14255550150-+14255550159\"]\n", "", "callback_pool[0].numbers", "required"),
        ("[notify]\nfrom = \"e911@example.com\"", "[notify]\nsmtp = \"smtp://127.0.0.1\"", "notify.from", "required"),
        ("[notify]", "[presence]\nkind = \"sip-publish\"\n[notify]", "presence.server", "required"),
        // Values.
        ("state_dir = \"/var/lib/e911d\"", "state_dir = \"e911d\"", "node.state_dir", "absolute"),
        ("state_dir = \"/var/lib/e911d\"", "state_dir = \"/var/lib/e911d\"\ncountry = \"USA\"", "node.country", "two"),
        ("state_dir = \"/var/lib/e911d\"", "state_dir = \"/var/lib/e911d\"\nlanguage = \"de\"", "node.language", "\"en\""),
        ("transport = \"udp\"", "transport = \"dup\"", "listen[0].transport", "\"udp\""),
        ("bind = \"127.0.0.1:5060\"", "bind = \"127.0.0.1\"", "listen[0].bind", "port"),
        ("bind = \"127.0.0.1:5060\"", "bind = \"::1:5060\"", "listen[0].bind", "[::]:5060"),
        (uri_a, "uri = \"127.0.0.1:5080\"", "trunk[0].uri", "sip:"),
        (uri_a, "uri = \"sip:911@127.0.0.1:5080\"", "trunk[0].uri", "without a user"),
        (uri_a, "uri = \"sip:::1\"", "trunk[0].uri", "brackets"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nsources = [\"127.0.0.1/33\"]", "trunk[0].sources[0]", "0 to 32"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\noptions = \"10\"", "trunk[0].options", "duration"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\noptions = \"1ms\"", "trunk[0].options", "1s"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nfallback_number = \"911\"", "trunk[0].fallback_number", "+14255550100"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nroutes_to_us = [\"425\"]", "trunk[0].routes_to_us[0]", "prefix"),
        ("[\"+14255550100-+14255550149\"]", "[\"+14255550149-+14255550100\"]", "trunk[0].callback_numbers[0]", "upwards"),
        ("pattern = '^\\+?911$'", "pattern = '^(911$'", "voice_route[0].pattern", "regular expression"),
        ("ttl = \"60m\"", "ttl = \"59m\"", "callback.ttl", "allow_short_ttl"),
        ("ttl = \"60m\"", "ttl = \"25h\"", "callback.ttl", "24h"),
        ("ttl = \"60m\"", "ttl = \"60m\"\nquarantine = \"25h\"", "callback.quarantine", "24h"),
        ("ttl = \"60m\"", "ttl = \"60m\"\ndesk = \"security\"", "callback.desk", "sip:"),
        ("from = \"e911@example.com\"", "from = \"e911\"", "notify.from", "mailbox"),
        ("from = \"e911@example.com\"", "from = \"e911@example.com\"\nsmtp = \"mail.example.com\"", "notify.smtp", "smtp://"),
        (
            "from = \"e911@example.com\"",
            "smtp_file = \"/nonexistent/x\"\nfrom = \"e911@example.com\"",
            "notify.smtp_file",
            "cannot be read",
        ),
        ("prefixes = [\"9\"]", "prefixes = [\"9\"]\nbudget = \"1s\"", "emergency.budget", "longer"),
        ("prefixes = [\"9\"]", "prefixes = [\"9x\"]", "emergency.prefixes[0]", ""),
        ("masks = { \"112\" = \"911\" }", "masks = { \"112\" = \"119\" }", "emergency.masks.112", ""),
        ("masks = { \"112\" = \"911\" }", "masks = { \"4255550100\" = \"911\" }", "emergency.masks.4255550100", ""),
        ("masks = { \"112\" = \"911\" }", "masks = { \"911\" = \"911\" }", "emergency.masks.911", ""),
        ("prefixes = [\"9\"]", "prefixes = [\"9\"]\ncountries = [\"US\", \"FR\"]", "emergency.countries", "plan"),
        // References.
        ("peer = \"pbx\"", "peer = \"pxb\"", "agent[0].peer", "no [[peer]]"),
        ("inbound = \"pbx\"", "inbound = \"carrier-a\"", "routing.inbound", "no [[peer]]"),
        (
            "trunks = [\"carrier-a\", \"carrier-b\"]",
            "trunks = [\"carrier-a\", \"carrier-c\"]",
            "voice_route[0].trunks[1]",
            "\"carrier-",
        ),
        ("trunks = [\"carrier-a\", \"carrier-b\"]", "trunks = [\"carrier-a\", \"carrier-a\"]", "voice_route[0].trunks", "twice"),
        ("trunk = \"carrier-a\"", "trunk = \"x\"", "callback_pool[0].trunk", "no [[trunk]]"),
        ("id = \"alice\"", "id = \"alice\"\noutbound_profile = \"suport\"", "agent[0].outbound_profile", "\"support\""),
        ("site = \"redmond\"\nnumbers", "site = \"redmont\"\nnumbers", "callback_pool[0].site", "\"redmond\""),
        // What may stand once.
        ("name = \"other\"", "name = \"PBX\"", "peer[1].name", "same name"),
        (
            "numbers = [\"+14255550150-+14255550159\"]",
            "numbers = [\"+14255550150-+14255550159\"]\n[[trunk]]\nname = \"Carrier-A\"\nuri = \"sip:127.0.0.3\"",
            "trunk[2].name",
            "same name",
        ),
        (
            "uri = \"sip:127.0.0.2:5080\"",
            "uri = \"sip:127.0.0.2:5080\"\nsources = [\"127.0.0.1/32\"]",
            "trunk[1].sources[0]",
            "same source",
        ),
        (
            "[[peer]]\nname = \"other\"",
            "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n[[peer]]\nname = \"other\"",
            "listen[2].bind",
            "same",
        ),
        ("[\"+14255550200\", \"+14255550201\"]", "[\"+14255550149\"]", "trunk[1].callback_numbers[0]", "overlaps"),
        (
            "[\"+14255550200\", \"+14255550201\"]",
            "[\"+14255550200\", \"+14255550200\"]",
            "trunk[1].callback_numbers[1]",
            "overlaps",
        ),
        ("number = \"+14255551234\"", "number = \"+14255550155\"", "agent[0].number", "callback_pool[0]"),
        ("peer = \"pbx\"", "peer = \"pbx\"\nidentity = [\"+14255550155\"]", "agent[0].identity[0]", "callback_pool[0]"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nfallback_number = \"+14255550200\"", "trunk[0].fallback_number", "shared"),
        // What a later version brings.
        ("transport = \"udp\"", "transport = \"udp\"\norigins = [\"https://a\"]", "listen[0].origins", "ws and wss"),
        (
            "[notify]",
            "[[listen]]\ntransport = \"ws\"\nbind = \"127.0.0.1:5062\"\norigins = [\"https://a/b\"]\n[notify]",
            "listen[2].origins[0]",
            "without a path",
        ),
        ("[notify]", "[tls]\ncertificate = \"/x\"\n[notify]", "tls.key", "missing and required"),
        (
            "[notify]",
            "[[listen]]\ntransport = \"tls\"\nbind = \"127.0.0.1:5061\"\n[notify]",
            "listen[2].transport",
            "[tls] section",
        ),
        ("[notify]", "[media]\nports = \"1-2\"\n[notify]", "media.ports", "above 1023"),
        ("[notify]", "[media]\nports = \"20001-20000\"\n[notify]", "media.ports", "lower one first"),
        ("[notify]", "[media]\nbind = \"eth0\"\n[notify]", "media.bind", "must be an address"),
        ("[notify]", "[media]\npublic = \"0.0.0.0\"\n[notify]", "media.public", "others reach us by"),
        ("[notify]", "[media]\nsrtp = true\n[notify]", "media.srtp", "unknown key"),
        ("[notify]", "[auth]\nrealm = 'a\"b'\n[notify]", "auth.realm", "quotes"),
        ("[notify]", "[dns]\nservers = [\"ns.example.com\"]\n[notify]", "dns.servers[0]", "must be an address"),
        ("[notify]", "[cluster]\nendpoints = [\"x\"]\n[notify]", "cluster.endpoints", "not in this version"),
        ("[notify]", "[cluster]\nendpoint = [\"x\"]\n[notify]", "cluster.endpoint", "unknown key"),
        ("[notify]", "[http]\nbind = \"0.0.0.0:8911\"\n[notify]", "http.bind", "not in this version"),
        ("[notify]", "[[http.token]]\nrole = \"viewer\"\n[notify]", "http.token[0].value", "missing and required"),
        ("[notify]", "[[http.token]]\nrole = \"god\"\nvalue = \"0123456789abcdef\"\n[notify]", "http.token[0].role", "must be"),
        (
            "[notify]",
            "[[http.token]]\nrole = \"viewer\"\nvalue = \"0123456789abcde\"\n[notify]",
            "http.token[0].value",
            "16 characters",
        ),
        ("[notify]", "[http]\npublic_url = \"x\"\n[notify]", "http.public_url", "must be a URL"),
        ("[notify]", "[http]\norigins = [\"https://a.example/x\"]\n[notify]", "http.origins[0]", "without a path"),
        ("[notify]", "[records]\nkeep = 1000001\n[notify]", "records.keep", "from 0 to 1000000"),
        ("[notify]", "[presence]\nkind = \"webhook\"\n[notify]", "presence.url", "is missing and required"),
        ("[notify]", "[presence]\nkind = \"webhook\"\nurl = \"ftp://x\"\n[notify]", "presence.url", "must be a URL"),
        ("from = \"e911@example.com\"", "webhook = \"x\"", "notify.webhook", "must be a URL"),
        ("id = \"alice\"", "id = \"alice\"\npassword = \"\"", "agent[0].password", "empty"),
        ("id = \"alice\"", "id = \"alice\"\nanswer = \"later\"", "agent[0].answer", "auto"),
        (uri_a, "uri = \"sip:carrier.example.com:0\"", "trunk[0].uri", "leads to no one"),
        (uri_a, "uri = \"sips:127.0.0.1;transport=udp\"", "trunk[0].uri", "over TLS"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nregister = true", "trunk[0].register", "needs a username"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\npassword_file = \"x\"", "trunk[0].password_file", "cannot be read"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\npassword = \"x\"", "trunk[0].password", "needs a username"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nusername = \"x\"", "trunk[0].username", "needs a password"),
        (
            "[callback]",
            "[presence]\nkind = \"sip-publish\"\nserver = \"sip:127.0.0.1\"\nusername = \"x\"\n[callback]",
            "presence.username",
            "needs a password",
        ),
        ("[callback]", "[presence]\nusername = \"x\"\npassword = \"y\"\n[callback]", "presence.username", "is for sip-publish"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nsrtp = \"offer\"", "trunk[0].srtp", "needs media = \"anchor\""),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nmedia = \"anchr\"", "trunk[0].media", "\"anchor\""),
        ("[notify]", "[media]\nphones_srtp = \"require\"\n[notify]", "media.phones_srtp", "needs phones = \"anchor\""),
        ("[notify]", "[media]\nlearn = true\n[notify]", "media.learn", "must be"),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nlocation = \"pdif\"", "trunk[0].location", "did you mean \"pidf\""),
        (uri_a, "uri = \"sip:127.0.0.1:5080\"\nsources = [\"carrier.example.com:5060\"]", "trunk[0].sources[0]", "has no port"),
    ];
    for (old, new, key, word) in table {
        one_mistake(old, new, key, word);
    }
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("transport = \"udp\"", "transport = \"upd\"")
        .replace("inbound = \"pbx\"", "inbound = \"pbxx\"")
        .replace("ttl = \"60m\"", "ttl = \"1m\"")
        .replace("prefixes = [\"9\"]", "prefixes = [\"9\"]\nfoo = 1");
    let mistakes = read(&text, &[("E911D__NODE__NAEM", "x")]).expect_err("five mistakes");
    let keys: Vec<_> = mistakes.0.iter().map(|m| m.key.as_str()).collect();
    assert_eq!(keys, ["listen[0].transport", "routing.inbound", "emergency.foo", "callback.ttl", "node.naem"]);
    let first = mistakes.to_string();
    let expected = format!(
        "test.toml:{}: listen[0].transport: must be \"udp\" or \"tcp\" or \"tls\" or \"ws\" or \"wss\"; did you mean \"udp\"?",
        line_of(&text, "upd")
    );
    assert_eq!(first.lines().next(), Some(expected.as_str()));
    assert_eq!(first.lines().last(), Some("environment E911D__NODE__NAEM: node.naem: unknown key; did you mean \"name\"?"));
}

#[test]
fn p10_a_config_that_cannot_place_an_emergency_number_is_refused() {
    let mistakes = read(&GOOD.replace("'^\\+?911$'", "'^912$'"), &[]).expect_err("911 has no route");
    let expected = format!("test.toml:{}: voice_route: 911 of US cannot be placed", line_of(GOOD, "[[voice_route]]"));
    assert!(mistakes.0.len() == 1 && mistakes.to_string().starts_with(&expected), "{mistakes}");
    let danish = GOOD.replace("[\"9\"]", "[\"9\"]\ncountries = [\"US\", \"DK\"]");
    let mistakes = read(&danish, &[]).expect_err("112 has no route; and it is masked").to_string();
    assert!(mistakes.contains("emergency."), "{mistakes}");
    let agent = GOOD.replace("id = \"alice\"", "id = \"alice\"\ncountry = \"GB\"").replace("masks = { \"112\" = \"911\" }", "");
    let mistakes = read(&agent, &[]).expect_err("999 and 112 have no route").to_string();
    assert!(mistakes.contains("999 of GB") && mistakes.contains("112 of GB"), "{mistakes}");
    assert!(read(&agent.replace("[\"9\"]", "[\"9\"]\ncountries = [\"US\"]"), &[]).is_ok(), "countries may leave one out");
}

#[test]
fn b8_a_cluster_is_refused_in_clear_words_by_a_build_that_has_none() {
    one_mistake(
        "[notify]",
        "[cluster]\nendpoints = [\"http://10.0.0.21:2379\"]\n[notify]",
        "cluster.endpoints",
        "not in this version",
    );
    assert!(read(&GOOD.replace("[notify]", "[cluster]\nendpoints = []\n[notify]"), &[]).is_ok(), "one machine says so, too");
}

#[test]
fn p3_a_direct_offer_number_is_a_way_for_911() {
    let offer = GOOD.replace("'^\\+?911$'", "'^\\d{10}$'").replace("emergency = true", "");
    assert!(read(&offer, &[]).is_err());
    let offer = offer.replace(
        "uri = \"sip:127.0.0.1:5080\"",
        "uri = \"sip:127.0.0.1:5080\"\npath = \"direct-offer\"\nnumbers = [\"+14255551234\"]",
    );
    let config = read(&offer, &[]).unwrap_or_else(|e| panic!("an agent's own number may be a bought one: {e}"));
    let findings = config::lint(&config);
    assert!(findings.iter().any(|f| f.what.contains("direct offer")), "{findings:?}");
}

#[test]
fn nothing_but_what_is_required_can_be_missing() {
    let listeners = GOOD.split("[[peer]]").next().and_then(|head| head.split_once("[[listen]]")).map_or("", |(_, l)| l);
    for (section, key) in [(format!("[[listen]]{listeners}").as_str(), "listen"), (GOOD, "node.state_dir")] {
        let text = GOOD.replace(section, "");
        let mistakes = read(&text, &[]).expect_err(key);
        assert!(mistakes.0.iter().any(|m| m.key == key), "{mistakes}");
    }
}

#[test]
fn c8_one_peer_and_one_trunk_may_share_a_source() {
    let config = read(GOOD, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.peers[0].sources, config.trunks[0].sources);
    assert!(config::lint(&config).iter().any(|f| f.what.contains("share a source")));
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let broken = GOOD.replace("name = \"pbx\"", "name = \"pbx");
    let shown = read(&broken, &[]).expect_err("broken").to_string();
    assert!(shown.starts_with(&format!("test.toml:{}: is not TOML", line_of(&broken, "name = \"pbx"))), "{shown}");
    let twice = GOOD.replace("ttl = \"60m\"", "ttl = \"60m\"\nttl = \"61m\"");
    let shown = read(&twice, &[]).expect_err("twice").to_string();
    assert!(shown.starts_with(&format!("test.toml:{}: is not TOML", line_of(&twice, "61m"))), "{shown}");
}

#[test]
fn a_mutilated_file_is_refused_in_words_or_still_good_and_nothing_worse() {
    let lines: Vec<_> = GOOD.lines().collect();
    let mut refused = 0;
    for (i, line) in lines.iter().enumerate() {
        let half = &line[..line.len() / 2];
        for replacement in ["", half, "x = 1", "[[trunk]]", "name = [[]]", "numbers = [{}]", "= = \u{0}", "\u{feff}\"é\" = \"é\""]
        {
            let text: String =
                lines.iter().enumerate().map(|(j, l)| format!("{}\n", if i == j { replacement } else { l })).collect();
            if let Err(mistakes) = read(&text, &[]) {
                refused += 1;
                assert!(!mistakes.0.is_empty() && mistakes.0.iter().all(|m| !m.what.is_empty()), "{text}");
            }
        }
    }
    assert!(refused > lines.len() * 5, "{refused}");
}

#[test]
fn ten_thousand_agents_are_read_in_no_time() {
    let agents: String = (0..10_000)
        .map(|i| format!("[[agent]]\nid = \"a{i}\"\nidentity = [\"a{i}\", \"+1206{i:07}\"]\nnumber = \"+1206{i:07}\"\n"))
        .collect();
    let config = read(&format!("{GOOD}{agents}"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.agents.len(), 10_001);
    assert!(config::lint(&config).iter().all(|f| !f.what.contains("told apart;")));
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let shown = config::load(Path::new("/nonexistent/e911d.toml"), std::iter::empty()).expect_err("no file").to_string();
    assert!(shown.contains("/nonexistent/e911d.toml") && shown.contains("cannot be read"), "{shown}");
}

#[test]
fn the_environment_stands_over_the_file() {
    let env = [
        ("E911D__NODE__NAME", "gw2"),
        ("E911D__TRUNK__CARRIER_B__URI", "sip:127.0.0.9:5099;transport=tcp"),
        ("E911D__TRUNK__CARRIER_B__TRUST_MARKS", "true"),
        ("E911D__TRUNK__CARRIER_B__CALLBACK_NUMBERS", "+14255550300, +14255550301"),
        ("E911D__LISTEN__0__BIND", "127.0.0.5:0"),
        ("E911D__AGENT__ALICE__CAPACITY", "3"),
        ("E911D__CALLBACK__RING", "30s"),
        ("E911D__EMERGENCY__PREFIXES", "[\"8\", \"9\"]"),
        ("E911D__EMERGENCY__MASKS__999", "911"),
        ("E911D__LOG__LEVEL", "debug"),
        ("E911D_TOKEN", "not of the config"),
        ("PATH", "/bin"),
    ];
    let config = read(GOOD, &env).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.node.name, "gw2");
    let SipTarget { address, transport, .. } = &config.trunks[1].target;
    assert_eq!((address.to_string(), transport.to_string()), ("127.0.0.9:5099".to_owned(), "tcp".to_owned()));
    assert!(config.trunks[1].trust_marks && config.trunks[1].callback_numbers.len() == 2);
    assert_eq!(config.listen[0].bind.to_string(), "127.0.0.5:0");
    assert_eq!((config.agents[0].capacity, config.callback.ring), (3, Duration::from_secs(30)));
    assert_eq!(config.emergency.prefixes, ["8", "9"]);
    assert_eq!(config.emergency.masks.len(), 2);
    assert_eq!(config.log.level.as_str(), "debug");
    assert_eq!(config.node.domain, "127.0.0.5");
}

#[test]
fn a_wrong_variable_is_a_mistake_under_its_own_name() {
    for (name, value, word) in [
        ("E911D__NODE__NAEM", "x", "did you mean"),
        ("E911D__NOED__NAME", "x", "unknown section"),
        ("E911D__TRUNK__CARRIER_C__URI", "sip:127.0.0.1", "no [[trunk]] of that name"),
        ("E911D__TRUNK__CARRIER_A__ESINET", "hunter2", "not in this version"),
        ("E911D__CALLBACK__TTL", "soon", "duration"),
        ("E911D__AGENT__ALICE__LOCKED", "maybe", "true or false"),
    ] {
        let shown = read(GOOD, &[(name, value)]).expect_err(name).to_string();
        assert!(shown.contains(&format!("environment {name}: ")) && shown.contains(word), "{shown}");
        assert!(!shown.contains("hunter2"));
    }
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = dir.path().join("smtp");
    std::fs::write(&secret, "smtp://u:s3cret@127.0.0.1:2525\n").expect("written");
    let text = GOOD.replace("[notify]", &format!("[notify]\nsmtp_file = \"{}\"", secret.display()));
    let config = read(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.notify.smtp.as_ref().map(|s| s.reveal().as_str()), Some("smtp://u:s3cret@127.0.0.1:2525"));
    assert!(!format!("{config:?}").contains("s3cret"));
    let both = text.replace("[notify]", "[notify]\nsmtp = \"smtp://127.0.0.1\"");
    let shown = read(&both, &[]).expect_err("one of the two").to_string();
    assert!(shown.contains("notify.smtp_file") && shown.contains("keep one"), "{shown}");
}

#[test]
fn neither_a_config_nor_its_mistakes_print_a_person_a_number_or_a_secret() {
    let config = config::load(&shipped("e911d.toml"), std::iter::empty()).unwrap_or_else(|e| panic!("{e}"));
    let shown = format!("{config:?}");
    for private in ["alice", "Andersen", "425555", "206555", "security", "frontdesk", "Main St", "mail.example"] {
        assert!(!shown.contains(private), "{private}: {shown}");
    }
    let findings: String = config::lint(&config).iter().map(|f| format!("{f}\n")).collect();
    assert!(!findings.contains("alice") && !findings.contains("425555"), "{findings}");
    let bad = GOOD
        .replace("+14255551234", "+1425555123x")
        .replace("e911@example.com", "canary@")
        .replace("id = \"alice\"", "id = \"al ice\"");
    let shown = read(&bad, &[]).expect_err("three mistakes").to_string();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(!shown.contains("1425555123") && !shown.contains("canary") && !shown.contains("al ice"), "{shown}");
}

#[test]
fn p9_a_catch_all_that_catches_911_is_pointed_out_unless_it_says_so() {
    let catch_all = |pattern: &str, emergency: bool| {
        let text =
            GOOD.replace("'^\\+?911$'", &format!("'{pattern}'")).replace("emergency = true", &format!("emergency = {emergency}"));
        let config = read(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
        config::lint(&config).iter().any(|f| f.weight == Weight::Warning && f.what.contains("catch-all"))
    };
    assert!(catch_all(".*", false) && catch_all("^\\d+$", false));
    assert!(!catch_all(".*", true) && !catch_all("^911$", false));
}

#[test]
fn p5_acs_strict_is_pointed_out() {
    let text = GOOD.replace("[routing]", "[routing]\nprofile = \"acs-strict\"");
    let config = read(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(config::lint(&config).iter().any(|f| f.weight == Weight::Warning && f.what.contains("acs-strict")));
}

#[test]
fn findings_name_what_an_operator_would_regret() {
    let text = GOOD
        .replace("callback_numbers = [\"+14255550200\", \"+14255550201\"]", "")
        .replace("id = \"alice\"\n", "id = \"alice\"\n[[agent]]\nid = \"bob\"\nidentity = [\"ALICE\"]\npeer = \"pbx\"\n[[agent]]\nid = \"alice2\"\nidentity = [\"alice\"]\n")
        .replace("from = \"e911@example.com\"", "from = \"e911@example.com\"\nsite_contacts = \"a@example.com; bad\"");
    let config = read(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let shown: String = config::lint(&config).iter().map(|f| format!("{f}\n")).collect();
    for word in [
        "no callback number",
        "callback.desk",
        "notify.smtp",
        "is no mailbox",
        "cannot be told apart",
        "911 goes by route \"emergency\" (carrier-a, carrier-b)",
    ] {
        assert!(shown.contains(word), "no \"{word}\" in:\n{shown}");
    }
}

#[test]
fn a_mail_password_that_travels_in_the_clear_is_pointed_out() {
    for (url, told) in [
        ("smtp://u:p@mail.example.com:587", true),
        ("smtp://u:p@mail.example.com:587?tls=required", false),
        ("smtps://u:p@mail.example.com", false),
        ("smtp://mail.example.com", false),
        ("smtp://u:p@127.0.0.1:25", false),
    ] {
        let text = GOOD.replace("from = \"e911@example.com\"", &format!("from = \"e911@example.com\"\nsmtp = \"{url}\""));
        let config = read(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
        let shown: String = config::lint(&config).iter().map(|f| format!("{f}\n")).collect();
        assert_eq!(shown.contains("password unencrypted"), told, "{url}");
        assert!(!shown.contains("u:p"), "the password is told");
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

#[test]
fn the_shipped_configs_load() {
    for name in ["e911d.toml", "examples/minimal.toml"] {
        let config = config::load(&shipped(name), std::iter::empty()).unwrap_or_else(|e| panic!("{e}"));
        assert!(!config.trunks.is_empty());
    }
}
