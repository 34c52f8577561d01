//! Whether the desks answer: OPTIONS to each, asked for from outside and told to the story.
//!
//! A desk that does not answer is rung by a callback all the same: this raises an alarm before the day, and nothing else.

use super::call::Owner;
use super::compose::contact;
use super::own::Errand;
use super::shard::{Shard, Wake};
use crate::emergency::facts::{Device, Input, PeerId};
use crate::emergency::prerequisites::desk_answers;
use crate::sip::compose::{self, Plain};
use crate::words::uri::Uri;
use crate::words::{Private, Time};
use std::time::Duration;

/// Who has not answered by then does not answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// The desks that were asked last.
#[derive(Default)]
pub(super) struct Desks {
    /// Counts rounds: an answer of an older one is too late.
    round: u32,
    asked: Vec<Asked>,
}

struct Asked {
    peer: Option<PeerId>,
    /// None while it may still answer; 0 is silence.
    answer: Option<u16>,
}

/// What became of a question to a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskView {
    /// The peer whose desk it is; none: `callback.desk`.
    pub peer: Option<PeerId>,
    /// The status of its answer, 0 for silence; none: it may still answer.
    pub answer: Option<u16>,
}

impl Shard {
    /// Asks every desk, unless a round is under way. [`Self::desks`] shows what comes of it.
    pub fn ask_desks(&mut self, now: Time) {
        if self.own.desks.asked.iter().any(|d| d.answer.is_none()) {
            return;
        }
        let site = &self.setup.site;
        let peers = (0u16..).map(PeerId).zip(&site.peers).filter_map(|(id, p)| Some((Some(id), p.desk.clone()?)));
        let all: Vec<_> = site.callback.desk.clone().map(|uri| (None, uri)).into_iter().chain(peers).collect();
        self.own.desks.round = self.own.desks.round.wrapping_add(1);
        let round = self.own.desks.round;
        self.own.desks.asked = all.iter().map(|(peer, _)| Asked { peer: *peer, answer: None }).collect();
        for (place, (_, uri)) in (0u16..).zip(&all) {
            self.ask_desk(Errand::Desk(round, place), uri, now);
        }
        self.wakes.arm(now + PATIENCE, Wake::Errand(Errand::DesksAreSilent(round)));
    }

    /// The desks that were asked last.
    pub fn desks(&self) -> impl Iterator<Item = DeskView> {
        self.own.desks.asked.iter().map(|d| DeskView { peer: d.peer, answer: d.answer })
    }

    fn ask_desk(&mut self, errand: Errand, uri: &Private<String>, now: Time) {
        let Some(way) = self.way_to(&Device::Uri(uri.clone()), &[], now) else { return self.on_desk(errand, 0, now) };
        let text = String::from_utf8_lossy(&way.uri).into_owned();
        let parsed = Uri::parse(text.as_bytes());
        let user = parsed.as_ref().and_then(|u| u.user).map(|u| String::from_utf8_lossy(u).into_owned());
        let host = way.flow.remote.to_string();
        let (tx, via) = self.endpoint.begin_plain(way.flow, Owner::Own(errand), now);
        let id = String::from_utf8_lossy(self.endpoint.plain_id(tx).as_bytes()).into_owned();
        let plain = Plain {
            user: user.as_deref(),
            host: &host,
            transport: way.flow.transport,
            via,
            from: &format!("sip:{}", self.setup.links.domain),
            id: &id,
            seq: self.own.next_seq(),
        };
        let own = contact("", self.endpoint.locals(), way.flow, b"");
        let bytes = compose::options(plain, &String::from_utf8_lossy(&own));
        self.endpoint.send(tx, bytes, now);
    }

    /// A desk has answered, or nobody is there: status 0.
    pub(super) fn on_desk(&mut self, errand: Errand, status: u16, now: Time) {
        let desks = &mut self.own.desks;
        match errand {
            Errand::Desk(round, place) if round == desks.round => {
                if let Some(desk) = desks.asked.get_mut(usize::from(place)).filter(|d| d.answer.is_none()) {
                    desk.answer = Some(status);
                }
            }
            Errand::DesksAreSilent(round) if round == desks.round => {
                for desk in &mut desks.asked {
                    desk.answer.get_or_insert(0);
                }
            }
            _ => return,
        }
        let answers = desks.asked.iter().map(|d| d.answer);
        if let Some(all) = answers.collect::<Option<Vec<u16>>>().filter(|all| !all.is_empty()) {
            let up = all.into_iter().all(desk_answers);
            self.tell_story(Some(Input::Desks { up }), now);
        }
    }
}
