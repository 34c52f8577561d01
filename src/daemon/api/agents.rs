//! `agents`: the people who dial.

use super::error::ApiError;
use super::page::{Id, Page, of_sorted};
use super::{Answer, Api};
use crate::daemon::config::{self, Config, Contacts, Language, Location, SipTarget};
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

/// The agents by id, each with the keys of the config; passwords never leave.
pub(super) async fn list(State(api): State<Api>, page: Page) -> Answer {
    let config = api.board.config();
    let mut agents: Vec<_> = config.agents.iter().collect();
    agents.sort_by(|a, b| a.id.reveal().cmp(b.id.reveal()));
    Ok(Json(of_sorted(agents.into_iter(), &page, |a| a.id.reveal().clone(), |a| show_agent(&config, a))))
}

/// One agent.
pub(super) async fn show(State(api): State<Api>, Id(id): Id) -> Answer {
    let config = api.board.config();
    let agent = config.agents.iter().find(|a| *a.id.reveal() == id).ok_or_else(|| ApiError::not_found("agent"))?;
    Ok(Json(show_agent(&config, agent)))
}

/// An agent in the keys of the config. What is not set is not there; a password is only said to be there.
pub(super) fn show_agent(config: &Config, agent: &config::Agent) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            shown.insert(key.to_owned(), value);
        }
    };
    let uris = |list: &[SipTarget]| list.iter().map(|t| json!(t.uri.reveal())).collect::<Vec<_>>();
    put("id", json!(agent.id.reveal()));
    put("name", json!(agent.name.reveal()));
    put("identity", agent.identity.iter().map(|i| json!(i.reveal())).collect());
    put("peer", json!(agent.peer.and_then(|p| config.peers.get(p)).map(|p| &p.name)));
    put("devices", json!(uris(&agent.devices)));
    put("alternates", json!(uris(&agent.alternates)));
    put("number", json!(agent.number.map(|n| n.to_string())));
    put("country", json!(agent.country.map(|c| c.to_string())));
    put("site", json!(agent.site));
    put("language", json!(agent.language.map(language)));
    put("outbound_profile", json!(agent.outbound_profile.and_then(|p| config.outbound_profiles.get(p)).map(|p| &p.name)));
    put("capacity", json!(agent.capacity));
    put("locked", json!(agent.locked));
    put("mailbox", json!(agent.mailbox.as_ref().map(|m| m.reveal())));
    put("contacts", json!(contacts(&agent.contacts)));
    put("location", agent.location.as_ref().map_or(Value::Null, |l| location(l.reveal())));
    put("has_password", json!(agent.password.is_some()));
    Value::Object(shown)
}

const fn language(language: Language) -> &'static str {
    match language {
        Language::English => "en",
        Language::Spanish => "es",
        Language::French => "fr",
    }
}

fn contacts(contacts: &Contacts) -> String {
    contacts.valid.iter().map(|c| c.reveal().as_str()).collect::<Vec<_>>().join("; ")
}

fn location(location: &Location) -> Value {
    let Location { house, street, city, state, zip, country, building, floor, room } = location;
    let fields = [
        ("house", house),
        ("street", street),
        ("city", city),
        ("state", state),
        ("zip", zip),
        ("country", country),
        ("building", building),
        ("floor", floor),
        ("room", room),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))).collect::<Map<_, _>>().into()
}
