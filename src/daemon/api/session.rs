//! `session`: an agent's page signs in, keeps itself signed in, and asks what there is for her.
//!
//! Signing in takes her own password, once; what she gets is a pass of [`passes`](crate::daemon::passes) for HTTP and for
//! SIP. Everything else here takes her token, and shows her what is hers alone.

use super::auth::{self, Asker};
use super::error::ApiError;
use super::presence;
use super::request::{NoParameters, Raw, content_type, wrong_type};
use super::time::{moment, rfc3339};
use super::{Answer, Api, DoorOf};
use crate::daemon::ask::{Ask, SetPresence};
use crate::daemon::config::{Config, Language};
use crate::daemon::guesses::Of;
use crate::daemon::pages;
use crate::daemon::passes::{Holder, Pass};
use crate::emergency::caller;
use crate::emergency::gateway::PanelView;
use crate::emergency::number::Numbers;
use crate::emergency::site::Site;
use crate::io::clock;
use crate::words::Country;
use crate::words::plan::plan;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

/// Numbers that the page is told of at most.
const MOST_NUMBERS: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    agent: String,
    password: String,
}

/// Signs in. 401 for a wrong id or password, whichever; 429 where that was guessed too often.
pub(super) async fn sign_in(
    State(api): State<Api>,
    _: NoParameters,
    DoorOf(door): DoorOf,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Answer {
    if content_type(&headers) != "application/json" {
        return Err(wrong_type("application/json"));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|_| ApiError::unreadable("", "is not JSON"))?;
    let shown: Credentials = serde_json::from_value(body)
        .map_err(|_| ApiError::invalid("", "must be an object with agent and password, both texts"))?;
    let (config, now, from) = (api.board.config(), clock::now(), auth::address(door, &headers));
    let counted = [Some(Of::Agent(&shown.agent)), from.map(Of::Address)];
    if let Some(wait) = counted.into_iter().flatten().filter_map(|of| api.guesses.wait(of, now)).max() {
        return Err(ApiError::too_often(wait));
    }
    let Some(pass) = api.passes.sign_in(&config, &shown.agent, &shown.password) else {
        counted.into_iter().flatten().for_each(|of| api.guesses.failed(of, now));
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this agent and this password do not belong together",
        ));
    };
    api.guesses.succeeded(Of::Agent(&shown.agent));
    Ok(Json(written(&api, &config, &shown.agent, &pass)))
}

/// A new token and new SIP credentials; those of before are good until their end.
pub(super) async fn renew(State(api): State<Api>, Extension(asker): Extension<Asker>, _: NoParameters) -> Answer {
    let holder = holder(&asker)?;
    let config = api.board.config();
    let pass = api.passes.renew(&config, holder).ok_or_else(|| ApiError::not_found("agent"))?;
    Ok(Json(written(&api, &config, holder.agent.reveal(), &pass)))
}

/// Signs out: the token is good no more.
pub(super) async fn sign_out(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    _: NoParameters,
) -> Result<StatusCode, ApiError> {
    api.passes.give_back(holder(&asker)?);
    Ok(StatusCode::NO_CONTENT)
}

/// What there is for her: `build, presence, lease, dropped, call, message`.
pub(super) async fn state(State(api): State<Api>, Extension(asker): Extension<Asker>, _: NoParameters) -> Answer {
    Ok(Json(state_of(&api, holder(&asker)?).await?))
}

/// The same, for whoever is told of changes.
pub(super) async fn state_of(api: &Api, holder: &Holder) -> Result<Value, ApiError> {
    let presence = presence::ask(api, holder.agent.reveal().clone(), SetPresence::Keep).await?;
    let agent = holder.agent.clone();
    let view: PanelView = api.ask(|answer| Ask::Panel { agent, answer }).await?;
    let lease = view.lease.map(|(number, expires)| json!({ "number": number.reveal().to_string(), "expires": moment(expires) }));
    let call = view.call.map(|(kind, state)| json!({ "kind": kind, "state": state }));
    Ok(json!({
        "build": pages::build(), "presence": presence::written(presence), "lease": lease, "dropped": view.dropped, "call": call,
        "message": view.not_connected.then_some("use_mobile"),
    }))
}

fn holder(asker: &Asker) -> Result<&Holder, ApiError> {
    asker.holder.as_ref().ok_or_else(auth::forbidden)
}

fn written(api: &Api, config: &Config, id: &str, pass: &Pass) -> Value {
    let agent = config.agents.iter().find(|a| a.id.reveal() == id);
    let name = agent.map_or(id, |a| a.name.reveal().as_str());
    let language = agent.and_then(|a| a.language).unwrap_or(config.node.language);
    let answer = if agent.is_some_and(|a| a.answers) { "auto" } else { "ring" };
    let ends = rfc3339(pass.ends);
    let domain = &config.node.domain;
    json!({
        "token": pass.token.reveal(), "expires": ends, "agent": id, "name": name, "language": word(language), "answer": answer,
        "sip": {
            "uri": format!("sip:{id}@{domain}"), "username": pass.user.reveal(), "password": pass.password.reveal(), "expires": ends,
        },
        "emergency": emergency_numbers(&api.board.site(), config, id), "build": pages::build(),
    })
}

const fn word(language: Language) -> &'static str {
    match language {
        Language::English => "en",
        Language::Spanish => "es",
        Language::French => "fr",
    }
}

/// What she may dial for help: her country's numbers, plain and behind each prefix, and the masks.
fn emergency_numbers(site: &Site, config: &Config, id: &str) -> Vec<String> {
    let agent = site.agents.iter().find(|a| a.id.reveal() == id);
    let peer = agent.and_then(|a| a.peer);
    let country = caller::country(site, agent.map(AsRef::as_ref), peer);
    let emergency = &config.emergency;
    numbers(&site.numbers, country, &emergency.prefixes, emergency.masks.keys())
}

fn numbers<'a>(
    known: &Numbers,
    country: Option<Country>,
    prefixes: &[String],
    masks: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let plain: Vec<String> =
        country.and_then(plan).map(|p| p.emergency.iter().map(|n| (*n).to_owned()).collect()).unwrap_or_default();
    let prefixed = prefixes.iter().flat_map(|p| plain.iter().map(move |n| format!("{p}{n}")));
    let all = plain.iter().cloned().chain(prefixed).chain(masks.cloned());
    let counts = |n: &String| known.recognise(n.as_bytes(), country).is_some_and(|d| !d.service.is_test() && !d.outside);
    all.filter(counts).take(MOST_NUMBERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn r1_the_page_is_told_of_her_countrys_numbers_with_prefixes_and_masks() {
        let country = |word| Country::parse(word).expect("a country");
        let prefixes = ["9".to_owned()];
        let masks = BTreeMap::from([("112".to_owned(), "911".to_owned())]);
        let known = Numbers::new(&[country("US"), country("GB")], &prefixes, &masks).expect("they fit");
        let told = |word| numbers(&known, Some(country(word)), &prefixes, masks.keys());
        assert_eq!(told("US"), ["911", "9911", "112"]);
        assert_eq!(told("GB"), ["999", "112", "9999", "9112", "112"]);
    }
}
