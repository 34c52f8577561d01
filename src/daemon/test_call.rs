//! `test-call`: an agent's whole path with the test number, for real, as if she had dialed it.
//!
//! We play the caller ([`Ask::Dial`]): the INVITE goes through everything that hers goes through, to the trunks and back.
//! Then it is looked up where a callback would lead, without ringing anybody. One at a time. Read [`walk`].

use super::api::Api;
use super::ask::{Ask, NoDial};
use super::config::Config;
use super::front::Command;
use super::readiness::call_ourselves;
use crate::emergency::caller;
use crate::emergency::facts::CallId;
use crate::emergency::gateway::CallView;
use crate::emergency::prerequisites::CameBack;
use crate::io::clock;
use crate::sip::offer;
use crate::sip::{Message, Method, Name};
use crate::words::{Private, Time};
use bytes::Bytes;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

/// How long the trunks may take; beyond `emergency.budget` they have given up.
const ANSWER: Duration = Duration::from_secs(40);
/// How long we listen.
const LISTEN: Duration = Duration::from_secs(1);
/// How long the far end may take to confirm the end.
const GOODBYE: Duration = Duration::from_secs(4);
/// Ports that are tried for audio.
const PORTS: u16 = 20;

/// One step of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which: `dialed`, `ringing`, `answered`, `ended`, `number`, `callback`, `self_call`.
    pub name: &'static str,
    /// Whether it went well.
    pub ok: bool,
    /// What happened.
    pub why: String,
    /// When, after the start.
    pub at: Duration,
}

/// Why there is no walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWalk {
    /// Another one is under way.
    Busy,
    /// The threads that carry calls are gone.
    Gone,
    /// Her call is not placed.
    NoDial(NoDial),
}

/// Walks this agent's path.
pub async fn walk(api: &Api, agent: &Private<String>) -> Result<Vec<Step>, NoWalk> {
    let _one = api.readiness.test_call.try_lock().map_err(|_| NoWalk::Busy)?;
    let config = api.board.config();
    let mut steps = Steps { began: clock::now(), steps: Vec::new() };
    let audio = audio_socket(&config);
    let (to_us, heard) = unbounded_channel();
    let mut caller = Caller { api, dialog: Dialog::new(api, agent, audio.as_ref().and_then(local_address)), heard };
    let (answer, answered) = oneshot::channel();
    let invite = caller.dialog.invite();
    let dial = Ask::Dial { agent: agent.clone(), invite, heard: to_us, answer };
    api.front.send(Command::Ask(dial)).map_err(|_| NoWalk::Gone)?;
    let taken = answered.await.map_err(|_| NoWalk::Gone)?.map_err(NoWalk::NoDial)?;
    steps.add("dialed", true, format!("{} as this agent would", caller.dialog.said()));
    if caller.wait_for_answer(&mut steps, taken).await {
        tokio::time::sleep(LISTEN).await;
        let packets = audio.as_ref().map_or(0, packets);
        let ended = caller.hang_up().await;
        let why = if ended { "hung up" } else { "the end of the call was not confirmed" };
        steps.add("ended", ended, format!("{why}; {packets} packets of audio were heard"));
    }
    callback(api, agent, &config, &mut steps).await;
    Ok(steps.steps)
}

/// Where the PSAP's callback would lead, and whether the number comes back to us.
async fn callback(api: &Api, agent: &Private<String>, config: &Config, steps: &mut Steps) {
    let (answer, answered) = oneshot::channel();
    let asked = api.front.send(Command::Ask(Ask::Leads { agent: agent.clone(), answer })).is_ok();
    let leads = if asked { answered.await.unwrap_or_default() } else { Vec::new() };
    let site = api.board.site();
    if leads.is_empty() {
        return steps.add("number", false, "no callback number was leased: look at trunk.callback_numbers".to_owned());
    }
    for lead in leads {
        let trunk = site.trunk(lead.trunk).map_or("", |t| &t.name);
        steps.add("number", true, format!("a callback number of {trunk} is leased for the test"));
        let desk = if lead.desk { "then the desk" } else { "no desk" };
        let why = match lead.devices {
            0 => format!("nobody of hers would ring, {desk}: set agent.devices, agent.password or agent.peer"),
            devices => format!("would ring at {devices} places of hers, {desk}; nobody was rung"),
        };
        steps.add("callback", lead.devices > 0, why);
        if config.readiness.self_call {
            let came_back = call_ourselves(api, lead.trunk, Some(lead.number)).await;
            steps.add("self_call", came_back == CameBack::Yes, in_words(came_back).to_owned());
        }
    }
}

const fn in_words(came_back: CameBack) -> &'static str {
    match came_back {
        CameBack::Yes => "a call to the number comes back to us",
        CameBack::Elsewhere => "a call to the number comes back by another trunk",
        CameBack::Refused(_) => "the trunk refuses a call to the number",
        CameBack::No => "a call to the number does not come back",
        CameBack::NoNumber => "no other number is free to show",
    }
}

struct Steps {
    began: Time,
    steps: Vec<Step>,
}

impl Steps {
    fn add(&mut self, name: &'static str, ok: bool, why: String) {
        self.steps.push(Step { name, ok, why, at: clock::now().since(self.began) });
    }
}

/// The caller that we play.
struct Caller<'a> {
    api: &'a Api,
    dialog: Dialog,
    heard: UnboundedReceiver<Bytes>,
}

impl Caller<'_> {
    /// Whether the call was answered.
    async fn wait_for_answer(&mut self, steps: &mut Steps, taken: Time) -> bool {
        let until = clock::now() + ANSWER;
        let mut rang = false;
        while let Some(response) = self.response(Method::Invite, until).await {
            match response.status() {
                ..=100 => {}
                101..200 if rang => {}
                101..200 => {
                    rang = true;
                    steps.add("ringing", true, self.who(taken).await);
                }
                200..300 => {
                    self.dialog.learn(&response);
                    self.say(self.dialog.request("ACK", 1));
                    steps.add("answered", true, self.who(taken).await);
                    return true;
                }
                status => {
                    self.dialog.learn(&response);
                    self.say(self.dialog.ack_of_refusal());
                    steps.add("answered", false, format!("refused with {status}: look at the trunks' own tests and at [media]"));
                    return false;
                }
            }
        }
        self.say(self.dialog.cancel());
        steps.add("answered", false, "nobody answered in time: look at the trunks".to_owned());
        false
    }

    /// Who has the call: a trunk, or we ourselves.
    async fn who(&self, taken: Time) -> String {
        let trunk = self.view(taken).await.and_then(|view| view.trunk);
        let site = self.api.board.site();
        match trunk.and_then(|t| site.trunk(t)) {
            Some(trunk) => format!("by {}", trunk.name),
            None => "by no trunk yet, or read back by the gateway itself".to_owned(),
        }
    }

    async fn view(&self, taken: Time) -> Option<CallView> {
        let mut after: Option<CallId> = None;
        loop {
            let (answer, answered) = oneshot::channel();
            self.api.front.send(Command::Ask(Ask::Emergencies { after, answer })).ok()?;
            let (calls, next) = answered.await.ok()?;
            if let Some((_, view)) = calls.into_iter().find(|(_, view)| view.since == taken) {
                return Some(view);
            }
            after = Some(next?);
        }
    }

    /// Whether the end is confirmed, or the far end came first.
    async fn hang_up(&mut self) -> bool {
        self.say(self.dialog.request("BYE", 2));
        self.response(Method::Bye, clock::now() + GOODBYE).await.is_some_and(|r| matches!(r.status(), 200..300 | 481))
    }

    /// The next response to that; requests are answered, repeated answers acknowledged meanwhile.
    async fn response(&mut self, method: Method, until: Time) -> Option<Message> {
        loop {
            let bytes = tokio::time::timeout(until.since(clock::now()), self.heard.recv()).await.ok()??;
            let Ok(msg) = Message::scan(bytes) else { continue };
            if msg.is_request() {
                if let Some(answer) = answer_to(&msg) {
                    self.say(answer);
                }
            } else if msg.cseq().is_some_and(|(seq, _)| (seq == 1) == (method == Method::Invite)) {
                return Some(msg);
            } else if matches!(msg.status(), 200..300) {
                self.say(self.dialog.request("ACK", 1));
            }
        }
    }

    fn say(&self, text: String) {
        let _ = self.api.front.send(Command::Ask(Ask::Say(text.into())));
    }
}

/// 200 to whatever the far end asks for.
fn answer_to(request: &Message) -> Option<String> {
    if request.method() == Method::Ack {
        return None;
    }
    let mut text = String::from("SIP/2.0 200 OK\r\n");
    for (name, written) in
        [(Name::Via, "Via"), (Name::From, "From"), (Name::To, "To"), (Name::CallId, "Call-ID"), (Name::CSeq, "CSeq")]
    {
        for value in request.all(name) {
            text.push_str(&format!("{written}: {}\r\n", String::from_utf8_lossy(value)));
        }
    }
    Some(text + "Content-Length: 0\r\n\r\n")
}

/// Our side of the call (RFC 3261 section 12).
struct Dialog {
    uri: String,
    id: String,
    domain: String,
    target: String,
    to: String,
    sdp: String,
}

const HOST: &str = "inside.invalid";

impl Dialog {
    fn new(api: &Api, agent: &Private<String>, audio: Option<SocketAddr>) -> Self {
        let (config, site) = (api.board.config(), api.board.site());
        let id = format!("{:016x}", std::hash::RandomState::new().build_hasher().finish());
        let domain = config.node.domain.clone();
        let known = site.agents.iter().find(|a| a.id == *agent);
        let country = caller::country(&site, known.map(AsRef::as_ref), known.and_then(|a| a.peer));
        let by_number = site.numbers.recognise(b"sip:933@x", country).is_some_and(|d| d.service.is_test());
        let uri = if by_number { format!("sip:933@{domain}") } else { "urn:service:test.sos".to_owned() };
        let audio = audio.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        let sdp = offer::offer(audio, 1);
        Self { target: uri.clone(), to: format!("<{uri}>"), uri, id, domain, sdp }
    }

    fn said(&self) -> &'static str {
        if self.uri.starts_with("urn:") { "urn:service:test.sos" } else { "933" }
    }

    fn invite(&self) -> Bytes {
        let contact = format!("Contact: <sip:test@{HOST};transport=tcp>\r\nContent-Type: application/sdp\r\n");
        self.compose("INVITE", &self.uri, "0", &format!("<{}>", self.uri), 1, &contact, &self.sdp).into()
    }

    fn learn(&mut self, response: &Message) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.to = response.get(Name::To).map_or_else(|| self.to.clone(), text);
        let contact = response.get(Name::Contact).and_then(crate::sip::header::NameAddr::parse).map(|n| text(n.uri));
        self.target = contact.unwrap_or_else(|| self.target.clone());
    }

    /// A request in the dialog; an ACK of a 2xx has a branch of its own.
    fn request(&self, method: &str, seq: u32) -> String {
        self.compose(method, &self.target, method, &self.to, seq, "", "")
    }

    /// The ACK of an error: of the INVITE's own transaction (RFC 3261 section 17.1.1.3).
    fn ack_of_refusal(&self) -> String {
        self.compose("ACK", &self.uri, "0", &self.to, 1, "", "")
    }

    fn cancel(&self) -> String {
        self.compose("CANCEL", &self.uri, "0", &format!("<{}>", self.uri), 1, "", "")
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    fn compose(&self, method: &str, uri: &str, branch: &str, to: &str, seq: u32, more: &str, body: &str) -> String {
        let Self { id, domain, .. } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP {HOST};branch=z9hG4bK{id}{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:test@{domain}>;tag={id}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {seq} {method}\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Where we listen: at a port of `[media]`, on the address that the trunks reach us by.
fn audio_socket(config: &Config) -> Option<UdpSocket> {
    let media = config.media;
    let ip = if media.bind.is_unspecified() { towards(config.trunks.first()?.target.address)? } else { media.bind };
    let ports = (0..PORTS).filter_map(|n| (media.ports.1 & !1).checked_sub(2 * n)).filter(|p| *p >= media.ports.0);
    let socket = ports.into_iter().find_map(|port| UdpSocket::bind((ip, port)).ok())?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

fn towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn local_address(socket: &UdpSocket) -> Option<SocketAddr> {
    socket.local_addr().ok()
}

/// How many have come, as far as the socket keeps them.
fn packets(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).take(10_000).count()
}
