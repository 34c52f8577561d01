//! The four transaction machines: RFC 3261 section 17 as corrected by RFC 6026.
//!
//! Each is an enum whose states hold only what exists in them; an event consumes the old state and gives the new one
//! together with what has to be done. They hold no bytes and know no sockets: the [endpoint](super::endpoint) keeps
//! the stored message and sends it when a machine says so.

use crate::words::Time;
use std::time::Duration;

/// RFC 3261 section 17.1.1.1: the round-trip estimate.
pub const T1: Duration = Duration::from_millis(500);
/// The longest interval between retransmissions of what is not an INVITE.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64*T1: timers B, D, F, H, J, L and M.
pub const LIFETIME: Duration = Duration::from_secs(32);
/// RFC 3261 section 16.6, item 11: more than three minutes, started anew by each provisional.
pub const TIMER_C: Duration = Duration::from_secs(181);
/// A 100 is due within 200 ms unless something better was said (RFC 3261 section 17.2.1); the wheel may add 9 ms.
pub const TRYING: Duration = Duration::from_millis(150);

/// What a machine wants done after an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Todo {
    /// Send the stored message (again).
    pub send: bool,
    /// Send the ACK of a non-2xx final response.
    pub ack: bool,
    /// Give the response to the user of the transaction.
    pub deliver: bool,
    /// Tell the user that nobody answered in time.
    pub timed_out: bool,
    /// Send a 100.
    pub trying: bool,
}

const NOTHING: Todo = Todo { send: false, ack: false, deliver: false, timed_out: false, trying: false };
const SEND: Todo = Todo { send: true, ..NOTHING };
const DELIVER: Todo = Todo { deliver: true, ..NOTHING };
const TIMED_OUT: Todo = Todo { timed_out: true, ..NOTHING };

/// Intervals between retransmissions: doubling, up to a cap where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    next: Time,
    interval: Duration,
}

impl Backoff {
    fn new(now: Time) -> Self {
        Self { next: now + T1, interval: T1 }
    }

    fn advance(self, now: Time, cap: Duration) -> Self {
        let interval = (self.interval * 2).min(cap);
        Self { next: now + interval, interval }
    }
}

/// RFC 3261 section 17.1.1, RFC 6026 section 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteClient {
    /// Sent, nothing heard. No back-off on a reliable transport.
    Calling { retransmit: Option<Backoff>, until: Time },
    /// A provisional has come; timer C runs.
    Proceeding { timer_c: Time },
    /// A final error has come and was acknowledged; its retransmissions are acknowledged until then.
    Completed { until: Time },
    /// A 2xx has come; its retransmissions and those of other forks pass through until then.
    Accepted { until: Time },
    /// Over.
    Terminated,
}

impl InviteClient {
    /// The state right after the INVITE was sent for the first time.
    pub fn new(now: Time, reliable: bool) -> Self {
        Self::Calling { retransmit: (!reliable).then(|| Backoff::new(now)), until: now + LIFETIME }
    }

    /// A response came.
    pub fn on_response(self, status: u16, now: Time, reliable: bool) -> (Self, Todo) {
        match self {
            Self::Calling { .. } | Self::Proceeding { .. } => match status {
                100..=199 => (Self::Proceeding { timer_c: now + TIMER_C }, DELIVER),
                200..=299 => (Self::Accepted { until: now + LIFETIME }, DELIVER),
                _ => {
                    let after = if reliable { Self::Terminated } else { Self::Completed { until: now + LIFETIME } };
                    (after, Todo { ack: true, ..DELIVER })
                }
            },
            Self::Completed { .. } if status >= 300 => (self, Todo { ack: true, ..NOTHING }),
            Self::Accepted { .. } if (200..300).contains(&status) => (self, DELIVER),
            _ => (self, NOTHING),
        }
    }

    /// The INVITE is given up before anything was heard: no more retransmissions (RULES P7).
    pub fn hush(self) -> Self {
        match self {
            Self::Calling { until, .. } => Self::Calling { retransmit: None, until },
            other => other,
        }
    }

    /// After a CANCEL: RFC 3261 section 9.1 ends the wait for a final response 64*T1 later.
    pub fn on_cancel_sent(self, now: Time) -> Self {
        match self {
            Self::Proceeding { .. } => Self::Proceeding { timer_c: now + LIFETIME },
            other => other,
        }
    }

    /// The deadline is here. Timer C reports and runs on: its user decides what it means.
    pub fn on_timer(self, now: Time) -> (Self, Todo) {
        match self {
            Self::Calling { until, .. } if until <= now => (Self::Terminated, TIMED_OUT),
            Self::Calling { retransmit: Some(r), until } if r.next <= now => {
                (Self::Calling { retransmit: Some(r.advance(now, LIFETIME)), until }, SEND)
            }
            Self::Proceeding { timer_c } if timer_c <= now => (Self::Proceeding { timer_c: now + TIMER_C }, TIMED_OUT),
            Self::Completed { until } | Self::Accepted { until } if until <= now => (Self::Terminated, NOTHING),
            _ => (self, NOTHING),
        }
    }

    /// When [`InviteClient::on_timer`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Calling { retransmit, until } => Some(retransmit.map_or(*until, |r| r.next.min(*until))),
            Self::Proceeding { timer_c } => Some(*timer_c),
            Self::Completed { until } | Self::Accepted { until } => Some(*until),
            Self::Terminated => None,
        }
    }
}

/// RFC 3261 section 17.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Sent; `proceeding` once a provisional came, which only slows the retransmissions.
    Trying { retransmit: Option<Backoff>, until: Time, proceeding: bool },
    /// Answered; retransmissions of the answer are absorbed until then.
    Completed { until: Time },
    /// Over.
    Terminated,
}

impl Client {
    /// The state right after the request was sent for the first time.
    pub fn new(now: Time, reliable: bool) -> Self {
        Self::Trying { retransmit: (!reliable).then(|| Backoff::new(now)), until: now + LIFETIME, proceeding: false }
    }

    /// A response came.
    pub fn on_response(self, status: u16, now: Time, reliable: bool) -> (Self, Todo) {
        match self {
            Self::Trying { retransmit, until, .. } if status < 200 => {
                (Self::Trying { retransmit, until, proceeding: true }, DELIVER)
            }
            Self::Trying { .. } => (if reliable { Self::Terminated } else { Self::Completed { until: now + T4 } }, DELIVER),
            _ => (self, NOTHING),
        }
    }

    /// The deadline is here.
    pub fn on_timer(self, now: Time) -> (Self, Todo) {
        match self {
            Self::Trying { until, .. } if until <= now => (Self::Terminated, TIMED_OUT),
            Self::Trying { retransmit: Some(r), until, proceeding } if r.next <= now => {
                let slowed = if proceeding { Backoff { interval: T2, ..r } } else { r };
                (Self::Trying { retransmit: Some(slowed.advance(now, T2)), until, proceeding }, SEND)
            }
            Self::Completed { until } if until <= now => (Self::Terminated, NOTHING),
            _ => (self, NOTHING),
        }
    }

    /// When [`Client::on_timer`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Trying { retransmit, until, .. } => Some(retransmit.map_or(*until, |r| r.next.min(*until))),
            Self::Completed { until } => Some(*until),
            Self::Terminated => None,
        }
    }
}

/// RFC 3261 section 17.2.1, RFC 6026 section 7.1. The 2xx is retransmitted here as well (RFC 3261 section 13.3.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteServer {
    /// Not answered; a 100 is due at `trying` while nothing was said.
    Proceeding { trying: Option<Time> },
    /// A final error was sent.
    Completed { retransmit: Option<Backoff>, until: Time },
    /// Its ACK came; further copies are absorbed until then.
    Confirmed { until: Time },
    /// A 2xx was sent; it is retransmitted until its ACK comes, on every transport.
    Accepted { retransmit: Option<Backoff>, until: Time },
    /// Over.
    Terminated,
}

impl InviteServer {
    /// The state right after the INVITE came.
    pub fn new(now: Time) -> Self {
        Self::Proceeding { trying: Some(now + TRYING) }
    }

    /// One that an earlier run answered. Its 2xx is repeated where `again`.
    pub fn answered(until: Time, now: Time, again: bool) -> Self {
        Self::Accepted { retransmit: again.then(|| Backoff::new(now)), until }
    }

    /// We respond; the stored response is what is sent again from here on.
    pub fn on_send(self, status: u16, now: Time, reliable: bool) -> Self {
        match (self, status) {
            (Self::Proceeding { .. }, 100..=199) => Self::Proceeding { trying: None },
            (Self::Proceeding { .. }, 200..=299) => Self::Accepted { retransmit: Some(Backoff::new(now)), until: now + LIFETIME },
            (Self::Proceeding { .. }, _) => {
                Self::Completed { retransmit: (!reliable).then(|| Backoff::new(now)), until: now + LIFETIME }
            }
            (other, _) => other,
        }
    }

    /// The INVITE came again. In `Accepted` the copy is absorbed (RFC 6026): the 2xx has its own timer.
    pub const fn on_retransmission(self) -> Todo {
        match self {
            Self::Proceeding { .. } | Self::Completed { .. } => SEND,
            _ => NOTHING,
        }
    }

    /// The ACK came: of the error by the transaction's branch, of the 2xx by its dialog.
    pub fn on_ack(self, now: Time, reliable: bool) -> Self {
        match self {
            Self::Completed { .. } if reliable => Self::Terminated,
            Self::Completed { .. } => Self::Confirmed { until: now + T4 },
            Self::Accepted { until, .. } => Self::Accepted { retransmit: None, until },
            other => other,
        }
    }

    /// The deadline is here. `timed_out` says that an ACK never came.
    pub fn on_timer(self, now: Time) -> (Self, Todo) {
        match self {
            Self::Proceeding { trying: Some(at) } if at <= now => {
                (Self::Proceeding { trying: None }, Todo { trying: true, ..NOTHING })
            }
            Self::Completed { until, .. } if until <= now => (Self::Terminated, NOTHING),
            Self::Accepted { retransmit, until } if until <= now => {
                (Self::Terminated, if retransmit.is_some() { TIMED_OUT } else { NOTHING })
            }
            Self::Completed { retransmit: Some(r), until } if r.next <= now => {
                (Self::Completed { retransmit: Some(r.advance(now, T2)), until }, SEND)
            }
            Self::Accepted { retransmit: Some(r), until } if r.next <= now => {
                (Self::Accepted { retransmit: Some(r.advance(now, T2)), until }, SEND)
            }
            Self::Confirmed { until } if until <= now => (Self::Terminated, NOTHING),
            _ => (self, NOTHING),
        }
    }

    /// When [`InviteServer::on_timer`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Proceeding { trying } => *trying,
            Self::Completed { retransmit, until } | Self::Accepted { retransmit, until } => {
                Some(retransmit.map_or(*until, |r| r.next.min(*until)))
            }
            Self::Confirmed { until } => Some(*until),
            Self::Terminated => None,
        }
    }
}

/// RFC 3261 section 17.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Nothing final was said. Given up after 64*T1: who asked has given up as well.
    Trying { until: Time },
    /// Answered; copies of the request get the stored answer until then.
    Completed { until: Time },
    /// Over.
    Terminated,
}

impl Server {
    /// The state right after the request came.
    pub fn new(now: Time) -> Self {
        Self::Trying { until: now + LIFETIME }
    }

    /// We respond.
    pub fn on_send(self, status: u16, now: Time, reliable: bool) -> Self {
        match self {
            Self::Trying { .. } if status < 200 => self,
            Self::Trying { .. } if reliable => Self::Terminated,
            Self::Trying { .. } => Self::Completed { until: now + LIFETIME },
            other => other,
        }
    }

    /// The deadline is here.
    pub fn on_timer(self, now: Time) -> Self {
        match self {
            Self::Trying { until } | Self::Completed { until } if until <= now => Self::Terminated,
            other => other,
        }
    }

    /// When [`Server::on_timer`] is due.
    pub const fn deadline(&self) -> Option<Time> {
        match self {
            Self::Trying { until } | Self::Completed { until } => Some(*until),
            Self::Terminated => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a machine's timers until `end` and returns when it sent, in milliseconds, and whether it timed out.
    fn run<S>(mut state: S, end: Time, deadline: fn(&S) -> Option<Time>, fire: fn(S, Time) -> (S, Todo)) -> (Vec<u64>, bool) {
        let (mut sent, mut timed_out) = (Vec::new(), false);
        while let Some(at) = deadline(&state).filter(|t| *t <= end) {
            let todo;
            (state, todo) = fire(state, at);
            if todo.send {
                sent.push(at.as_millis());
            }
            timed_out |= todo.timed_out;
        }
        (sent, timed_out)
    }

    #[test]
    fn an_invite_without_an_answer_is_sent_seven_times_and_times_out_after_32_s() {
        let (sent, timed_out) =
            run(InviteClient::new(Time::ZERO, false), Time::ZERO + LIFETIME, InviteClient::deadline, InviteClient::on_timer);
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
        assert!(timed_out);
    }

    #[test]
    fn on_a_reliable_transport_nothing_is_sent_twice() {
        let (sent, timed_out) =
            run(InviteClient::new(Time::ZERO, true), Time::ZERO + LIFETIME, InviteClient::deadline, InviteClient::on_timer);
        assert_eq!((sent, timed_out), (vec![], true));
    }

    #[test]
    fn another_request_is_retransmitted_up_to_every_4_s() {
        let (sent, timed_out) = run(Client::new(Time::ZERO, false), Time::ZERO + LIFETIME, Client::deadline, Client::on_timer);
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert!(timed_out);
    }

    #[test]
    fn p7_an_invite_that_was_given_up_is_not_sent_again() {
        let (sent, _) = run(
            InviteClient::new(Time::ZERO, false).hush(),
            Time::ZERO + LIFETIME,
            InviteClient::deadline,
            InviteClient::on_timer,
        );
        assert_eq!(sent, Vec::<u64>::new());
    }

    #[test]
    fn an_error_is_acknowledged_each_time_and_delivered_once() {
        let (s, todo) = InviteClient::new(Time::ZERO, false).on_response(503, Time::ZERO, false);
        assert_eq!(todo, Todo { ack: true, deliver: true, ..NOTHING });
        let (s, todo) = s.on_response(503, Time::ZERO, false);
        assert_eq!(todo, Todo { ack: true, ..NOTHING });
        assert_eq!(s.on_timer(Time::ZERO + LIFETIME).0, InviteClient::Terminated);
    }

    #[test]
    fn every_2xx_passes_through_for_32_s_and_no_error_after_it_does() {
        let (s, todo) = InviteClient::new(Time::ZERO, false).on_response(200, Time::ZERO, false);
        assert_eq!(todo, DELIVER);
        assert_eq!(s.on_response(200, Time::ZERO, false).1, DELIVER);
        assert_eq!(s.on_response(486, Time::ZERO, false).1, NOTHING);
    }

    #[test]
    fn a_2xx_is_sent_again_on_every_transport_until_its_ack() {
        let s = InviteServer::new(Time::ZERO).on_send(200, Time::ZERO, true);
        let (sent, timed_out) = run(s, Time::ZERO + LIFETIME, InviteServer::deadline, InviteServer::on_timer);
        assert_eq!(sent[..5], [500, 1500, 3500, 7500, 11500]);
        assert!(timed_out);
        let (sent, timed_out) =
            run(s.on_ack(Time::ZERO, true), Time::ZERO + LIFETIME, InviteServer::deadline, InviteServer::on_timer);
        assert_eq!((sent, timed_out), (vec![], false));
    }

    #[test]
    fn a_100_is_sent_within_200_ms_unless_something_else_was_said() {
        let s = InviteServer::new(Time::ZERO);
        assert!(s.deadline() <= Some(Time::from_micros(190_000)));
        assert!(s.on_timer(Time::ZERO + TRYING).1.trying);
        assert_eq!(s.on_send(180, Time::ZERO, false).deadline(), None);
    }

    #[test]
    fn timer_c_reports_and_runs_on() {
        let (s, _) = InviteClient::new(Time::ZERO, false).on_response(180, Time::ZERO, false);
        let (s, todo) = s.on_timer(Time::ZERO + TIMER_C);
        assert_eq!(todo, TIMED_OUT);
        assert!(matches!(s, InviteClient::Proceeding { .. }));
    }

    #[test]
    fn a_copy_of_an_answered_request_gets_the_stored_answer_for_32_s_on_udp() {
        let s = Server::new(Time::ZERO).on_send(200, Time::ZERO, false);
        assert_eq!(s.deadline(), Some(Time::ZERO + LIFETIME));
        assert_eq!(Server::new(Time::ZERO).on_send(200, Time::ZERO, true), Server::Terminated);
    }
}
