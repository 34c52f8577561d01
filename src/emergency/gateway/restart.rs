//! The story across a restart: what of it is written down, and how it goes on from there (RULES L1, L2, A1, B1).

use super::{Gateway, Kind};
use crate::emergency::call::{EmergencyCall, Facts};
use crate::emergency::facts::{Body, CallId, LegId, Side};
use crate::emergency::kept::{self, FORMAT, KeptCaller, KeptKind, KeptTalk};
use crate::emergency::lease::Leases;
use crate::emergency::notice::About;
use crate::emergency::number::{Dialed, DialedForm, Service, SubService};
use crate::emergency::presence::Presence;
use crate::emergency::privacy::Tier;
use crate::emergency::ringing::{CallbackCall, Called};
use crate::words::{Country, E164, Saved, Time};

impl Gateway {
    /// Takes up what the process before us left behind. Before the first fact and the first [`Gateway::restore_call`].
    pub fn restore(&mut self, saved: &Saved, now: Time) {
        // The same numbers made a pool before.
        let Ok(mut pool) = super::pool_of(&self.site) else { return };
        let (leases, damaged) = Leases::restore(saved, &self.site, &mut pool, now);
        self.leases = leases;
        self.take_pool(pool);
        self.presence = Presence::restore(saved, self.site.presence_hold, now, |side| self.out.side(side));
        if damaged > 0 {
            self.out.alarm("store_failed", true);
            self.damage_until = Some(now + super::alarms::DAMAGE_STANDS);
            self.out.log("rows of the store could not be read", CallId(0), None);
        }
        self.write_down(now);
    }

    /// What to keep of an answered call, to take it up after a restart; `None` for one that nobody has answered, and
    /// for one that is not the story's. It does not change while the call is up.
    pub fn kept(&self, call: CallId) -> Option<KeptTalk> {
        let running = self.calls.get(&call)?;
        let since = running.since.as_micros();
        match &running.kind {
            Kind::Emergency(call) => {
                let (leg, trunk) = call.answered_by()?;
                let facts = call.facts();
                let kind = KeptKind::Emergency {
                    trunk: kept::trunk_name(&self.site, trunk).to_owned(),
                    dialed: facts.about.dialed.to_owned(),
                    path: facts.about.path.to_owned(),
                    test: facts.about.test,
                    remark: facts.about.remark.map(str::to_owned),
                    caller: KeptCaller::of(&facts.about.caller, &self.site).into_owned(),
                };
                let leases = self.leases.serial_of(facts.record).into_iter().collect();
                Some(KeptTalk { format: FORMAT, kind, leases, number: facts.shown.map(|n| n.to_string()), leg: leg.0, since })
            }
            Kind::Callback(call) => {
                let (leg, called) = call.answered_by()?;
                let kind = KeptKind::Callback { tier: called.tier.word().to_owned() };
                let leases = called.records.iter().filter_map(|id| self.leases.serial_of(*id)).collect();
                Some(KeptTalk { format: FORMAT, kind, leases, number: Some(called.number.to_string()), leg: leg.0, since })
            }
        }
    }

    /// Takes up a call that was answered before the restart: from now on it is as it was, and its end by either side
    /// settles lease, presence, notice and counters. `call` is the bridge's new name for it. Poll afterwards: the lease
    /// and who is shown busy may have to be written anew.
    pub fn restore_call(&mut self, call: CallId, kept: &KeptTalk, now: Time) {
        let since = Time::from_micros(kept.since).min(now);
        let kind = match &kept.kind {
            KeptKind::Emergency { .. } => self.restored_emergency(call, kept, since, now),
            KeptKind::Callback { tier } => self.restored_callback(call, kept, tier, now),
        };
        if let Some(kind) = kind {
            self.keep(call, kind, since, now);
        }
        self.write_down(now);
    }

    /// Whether the store has been told everything that the restart has changed: until then a further restart must take this
    /// one's boot for another one (RULES L2).
    pub const fn is_settled(&self) -> bool {
        self.leases.is_settled()
    }

    /// Tells the store what has changed. The last thing in every step: nothing waits for it.
    pub(super) fn write_down(&mut self, now: Time) {
        let Self { leases, presence, out, site, pool, .. } = self;
        leases.take_rows(site, pool, now, |row| out.side(Side::Keep(row)));
        presence.take_rows(|row| out.side(Side::Keep(row)));
    }

    fn restored_emergency(&mut self, call: CallId, kept: &KeptTalk, since: Time, now: Time) -> Option<Kind> {
        let KeptKind::Emergency { trunk, dialed, path, test, remark, caller } = &kept.kind else { return None };
        let (trunk, shown) = (kept::trunk_named(&self.site, trunk), kept.number.as_deref().and_then(E164::parse));
        let about = About {
            caller: caller.clone().into_caller(&self.site),
            time: since,
            dialed: kept::emergency_number(dialed),
            path: kept::path_word(path),
            test: *test,
            remark: remark.as_deref().and_then(kept::remark),
        };
        let known = kept.leases.first().and_then(|serial| self.leases.of_serial(*serial));
        let record = known.unwrap_or_else(|| self.leases.lease_anew(&self.site, &about, trunk, shown, now));
        self.leases.leg_up(record);
        let dialed = dialed_before(&about, self.site.country);
        let mut facts = Facts::new(call, about, dialed, record, Body::None);
        facts.shown = shown;
        let mut call = EmergencyCall::answered_before(facts, LegId(kept.leg), trunk);
        self.then_presence(&mut call, now);
        Some(Kind::Emergency(call))
    }

    fn restored_callback(&mut self, call: CallId, kept: &KeptTalk, tier: &str, now: Time) -> Option<Kind> {
        let number = kept.number.as_deref().and_then(E164::parse)?;
        let records: Vec<_> = kept.leases.iter().filter_map(|serial| self.leases.of_serial(*serial)).collect();
        let tier = [Tier::T0, Tier::T1, Tier::T2, Tier::T3].into_iter().find(|t| t.word() == tier).unwrap_or(Tier::T0);
        if tier < Tier::T2
            && let Some(first) = records.first()
        {
            self.leases.plain_callback_began(*first, number, now);
        }
        for &id in &records {
            self.leases.leg_up(id);
            self.agent_is_busy(id, now);
        }
        Some(Kind::Callback(CallbackCall::answered_before(Called { call, number, records, tier }, LegId(kept.leg))))
    }
}

/// An answered call is not placed again: of what was dialed only the notice's part counts.
fn dialed_before(about: &About, country: Option<Country>) -> Dialed {
    Dialed {
        canonical: about.dialed,
        route_as: about.dialed,
        country: country.unwrap_or(Country::US),
        service: if about.test { Service::Test } else { Service::Sos(SubService::General) },
        form: DialedForm::Number,
        masked: false,
        outside: false,
    }
}
