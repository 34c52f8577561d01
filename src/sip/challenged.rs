//! A request of ours that was challenged, and how it goes out again (RFC 3261 section 22.2).

use super::client::ClientTransaction;
use super::endpoint::{Endpoint, number};
use super::flow::Flow;
use super::header::first_value;
use super::scan::{Message, Method, Name};
use super::write::Writer;
use super::{ClientKey, DialogKey};
use crate::words::Time;
use bytes::Bytes;

/// The request that was challenged last; its transaction may be over already.
pub(super) struct Challenged {
    tx: ClientKey,
    invite: bool,
    flow: Flow,
    bytes: Bytes,
    dialog: Option<DialogKey>,
    method: Method,
    ways: Vec<Flow>,
    account: Option<u16>,
    answers: u8,
    silent: bool,
}

/// What is to be known of a challenged request to answer it.
pub struct Request {
    /// As it was sent.
    pub msg: Message,
    /// Where it was sent.
    pub flow: Flow,
    /// Whose credentials may answer, by the owner's number.
    pub account: Option<u16>,
    /// How often it was answered before.
    pub answers: u8,
}

impl Challenged {
    pub(super) fn of<O>(tx: ClientKey, client: &ClientTransaction<O>) -> Self {
        Self {
            tx,
            invite: client.invite,
            flow: client.flow,
            bytes: client.bytes.clone(),
            dialog: client.dialog,
            method: client.method,
            ways: client.ways.clone(),
            account: client.account,
            answers: client.answers,
            silent: client.silent,
        }
    }
}

impl<O: Copy> Endpoint<O> {
    /// The request that [`Event::Challenged`](super::Event::Challenged) is about.
    pub fn challenged(&self, tx: ClientKey) -> Option<Request> {
        let asked = self.challenged.as_ref().filter(|c| c.tx == tx)?;
        let msg = Message::scan(asked.bytes.clone()).ok()?;
        Some(Request { msg, flow: asked.flow, account: asked.account, answers: asked.answers })
    }

    /// Sends it again with this header field: the same but for CSeq and branch. The transaction that it has now.
    pub fn send_again(&mut self, tx: ClientKey, field: (&str, &[u8]), owner: O, now: Time) -> Option<ClientKey> {
        let asked = self.challenged.take().filter(|c| c.tx == tx)?;
        let msg = Message::scan(asked.bytes.clone()).ok()?;
        let (mut seq, _) = msg.cseq()?;
        let mut client = ClientTransaction::new(asked.invite, asked.flow, owner, asked.dialog, now);
        (client.account, client.answers, client.silent) = (asked.account, asked.answers.saturating_add(1), asked.silent);
        (client.method, client.ways) = (asked.method, asked.ways);
        let again = self.clients.insert(Box::new(client));
        seq = seq.saturating_add(1);
        if let Some(dialog) = asked.dialog.and_then(|d| self.dialogs.get_mut(d)) {
            seq = seq.max(dialog.local_seq + 1);
            dialog.local_seq = seq;
            if asked.invite {
                dialog.invite = Some(again);
                dialog.invite_seq = seq;
                dialog.credentials = credentials(&msg, field);
            }
        }
        let bytes = self.compose_again(&msg, again, seq, asked.flow, field);
        self.send(again, bytes, now);
        Some(again)
    }

    fn compose_again(&self, msg: &Message, tx: ClientKey, seq: u32, flow: Flow, field: (&str, &[u8])) -> Bytes {
        let mut w = Writer::request(msg.method_bytes(), msg.uri());
        let mut top = true;
        for h in msg.headers() {
            match h.name {
                Name::Via if std::mem::take(&mut top) => {
                    self.via(&mut w, flow, &self.branch(tx));
                    let (_, rest) = first_value(msg.value(h));
                    if !rest.is_empty() {
                        w.header("Via", rest);
                    }
                }
                Name::CSeq => {
                    w.header_parts("CSeq", &[number(seq).as_bytes(), b" ", msg.method_bytes()]);
                }
                Name::ContentLength => {}
                name if is_replaced(name, msg.value(h), field) => {}
                _ => {
                    w.copy(msg, h);
                }
            }
        }
        w.header(field.0, field.1);
        w.finish_body(msg.body())
    }
}

/// All credentials of the request as they will stand in it, as whole header fields.
fn credentials(msg: &Message, field: (&str, &[u8])) -> Bytes {
    let mut w = Writer::fields();
    for h in msg.headers() {
        let is_one = matches!(h.name, Name::Authorization | Name::ProxyAuthorization);
        if is_one && !is_replaced(h.name, msg.value(h), field) {
            w.copy(msg, h);
        }
    }
    w.header(field.0, field.1);
    w.into_fields()
}

/// Old credentials for the same realm give way to the new ones.
fn is_replaced(name: Name, value: &[u8], field: (&str, &[u8])) -> bool {
    let realm = |v| super::header::auth_param(v, "realm");
    matches!(name, Name::Authorization | Name::ProxyAuthorization) && name.as_str() == field.0 && realm(value) == realm(field.1)
}
