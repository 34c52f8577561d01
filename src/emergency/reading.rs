//! A test that no trunk took: the caller is answered and hears the callback number and the path (RULES R5).
//!
//! Not the voice: the bridge answers the INVITE and the media plug speaks. To the contacts the test has not connected;
//! that it was read back is a remark beside that.

use super::call::{CallEvent, EmergencyCall, Ended, Facts, give_up_late};
use super::facts::{CallEffect, LegEvent, LegId, Party};
use super::outputs::Outputs;
use super::presence::EndedBy;
use super::privacy::Outcome;
use crate::words::{E164, Private};

/// What the contacts are told beside "did not connect".
pub const READ_BACK: &str = "No trunk took the test call; the gateway answered it and read the callback number back.";

/// Why a test is refused that cannot be read back either.
pub const NO_TRUNK_FOR_THE_TEST: &str = "No trunk took the test call";

/// The same where the caller could not hear it.
const NO_COMMON_AUDIO: &str = "No trunk took the test call, and PCMU audio that could be read back in is not offered";

/// A test being read back, or about to be.
#[derive(Debug)]
pub struct Reading {
    /// What it is.
    pub facts: Box<Facts>,
    leg: LegId,
}

impl Reading {
    /// Has the caller answered.
    pub fn begin(facts: Box<Facts>, leg: LegId, number: E164, out: &mut Outputs) -> Self {
        let language = facts.about.caller.agent().and_then(|a| a.language.clone());
        let (call, path) = (facts.call, facts.about.path);
        out.call(CallEffect::ReadBack { call, leg, number: Private::new(number), path, language });
        Self { facts, leg }
    }

    /// What becomes of it. It ends when one of us hangs up; the reading itself is bounded by whoever reads.
    pub fn handle(mut self, event: CallEvent, out: &mut Outputs) -> EmergencyCall {
        let call = self.facts.call;
        match event {
            CallEvent::Leg(id, LegEvent::Answered) if id == self.leg => {
                self.facts.about.remark = Some(READ_BACK);
                out.log("test call read back", call, None);
            }
            CallEvent::Leg(id, LegEvent::Refused { status }) if id == self.leg => {
                let text = if status == 488 { NO_COMMON_AUDIO } else { NO_TRUNK_FOR_THE_TEST };
                out.call(CallEffect::Refuse { call, status, retry_after: None, text });
                return self.ended(Outcome::NotConnected, EndedBy::Trunk);
            }
            CallEvent::Leg(..) => give_up_late(call, event, out),
            CallEvent::Abandoned => return self.ended(Outcome::Abandoned, EndedBy::Agent),
            CallEvent::Ended(Party::Caller) => return self.ended(Outcome::NotConnected, EndedBy::Agent),
            CallEvent::Ended(Party::Callee) => return self.ended(Outcome::NotConnected, EndedBy::Trunk),
            CallEvent::Committed | CallEvent::Tick | CallEvent::Device(_) | CallEvent::AgentFree | CallEvent::LineFreed(_) => {}
        }
        EmergencyCall::Reading(self)
    }

    fn ended(self, outcome: Outcome, by: EndedBy) -> EmergencyCall {
        EmergencyCall::Ended(Ended { facts: self.facts, outcome, by, trunk: None })
    }
}
