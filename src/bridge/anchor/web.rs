//! A side that is a browser: what is told of its ICE and DTLS, and how its descriptions become any phone's and back.
//!
//! What its offer says holds once that is answered (RFC 3264 section 8): a browser whose ICE restart was refused goes on with the
//! names and passwords of before. Read [`Web`] first.

use super::{BrowserEnd, End, Half, Role, Talk};
use crate::sip::browser::{self, Browser, Face, Streams};
use crate::sip::relayed;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A side that is a browser.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Web {
    /// Our certificate, as this run has it.
    #[serde(skip)]
    pub(super) ours: [u8; 32],
    #[serde(flatten)]
    holds: Said,
    /// What its offer says that nobody has answered yet.
    #[serde(skip)]
    offered: Option<Said>,
    /// The streams that the other side knows of.
    others: Option<Streams>,
}

/// What a browser has said.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Said {
    /// How often ICE has begun anew.
    round: u8,
    /// Its certificate, and its name in ICE.
    theirs: Option<([u8; 32], String)>,
    /// Whether it waits for DTLS to begin.
    #[serde(default)]
    waits: bool,
    /// The streams that it knows of.
    streams: Option<Streams>,
}

impl Web {
    pub(super) fn of(ours: [u8; 32]) -> Box<Self> {
        Box::new(Self { ours, ..Self::default() })
    }
}

impl Said {
    /// What it says after this. An offer with another name begins ICE anew (RFC 8839 section 4.4.1.1.1).
    fn then(&self, role: Role, browser: Browser) -> Self {
        let anew = role == Role::Offer && self.theirs.as_ref().is_some_and(|(_, ufrag)| *ufrag != browser.ufrag);
        Self {
            round: self.round.wrapping_add(u8::from(anew)),
            theirs: Some((browser.fingerprint, browser.ufrag)),
            waits: browser.waits.unwrap_or(self.waits),
            streams: Some(browser.streams),
        }
    }
}

impl Half {
    /// A browser's end of the relay.
    pub(super) fn web_end(&self, web: &Web, talk: &Talk) -> Option<End> {
        let Said { round, theirs, waits, .. } = &web.holds;
        let fingerprint = theirs.as_ref()?.0;
        let browser = Some(BrowserEnd { ice: self.pair.keys.ice(*round), fingerprint, waits: *waits });
        Some(End { at: self.pair.at, rtp: None, rtcp: None, also: None, keys: None, deaf: talk.deaf, browser })
    }

    /// What a browser says, as a phone would have said it. `None`: it is a phone.
    pub(super) fn undressed(&mut self, role: Role, sdp: &[u8]) -> Option<Bytes> {
        let (at, web) = (self.pair.at, self.web.as_mut()?);
        let Some(browser) = Browser::read(sdp) else { return Some(relayed::refused(sdp, at)) };
        let plain = browser.plain(sdp, at, web.others.as_ref());
        let said = web.holds.then(role, browser);
        match role {
            Role::Offer => web.offered = Some(said),
            Role::Answer => web.holds = said,
        }
        Some(plain)
    }

    /// A description on its way to this side.
    pub(super) fn dressed(&mut self, role: Role, plain: Bytes) -> Bytes {
        let Some(web) = self.web.as_mut() else { return plain };
        web.others = Streams::of_plain(&plain).or_else(|| web.others.take());
        if role == Role::Answer
            && let Some(offered) = web.offered.take()
        {
            web.holds = offered;
        }
        let ice = self.pair.keys.ice(web.holds.round);
        browser::dressed(
            &plain,
            &Face {
                at: self.pair.at,
                ufrag: &ice.ufrag,
                password: &ice.password,
                fingerprint: &web.ours,
                ssrc: ice.ssrc,
                answers: role == Role::Answer,
                begins: web.holds.waits,
                streams: web.holds.streams.as_ref(),
            },
        )
    }
}
