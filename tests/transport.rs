//! The transports over real sockets on loopback: what is refused, split, large, or bound twice.

use bytes::Bytes;
use e911d::io::clock;
use e911d::io::transport::stream::{Happened, Listener, Streams};
use e911d::io::transport::udp::{Inbox, LARGEST, Port, Ports, Received};
use e911d::io::transport::{Counters, Known, Sent};
use e911d::sip::{Flow, Transport};
use std::future::poll_fn;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SOON: Duration = Duration::from_secs(5);

fn flow(transport: Transport, remote: SocketAddr) -> Flow {
    Flow { transport, listener: 0, remote, connection: 0, name: 0 }
}

/// A port of this machine where nobody listens.
fn closed_port() -> SocketAddr {
    UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap()
}

fn ports(at: SocketAddr, neighbours: &[SocketAddr]) -> (Arc<Port>, Ports) {
    let listener = Arc::new(Port::listen(at, 0).unwrap());
    let flows = neighbours.iter().map(|n| flow(Transport::Udp, *n));
    let (ports, failed) = Ports::new(vec![Some(Arc::clone(&listener))], flows, &Ports::default());
    assert!(failed.is_empty(), "{failed:?}");
    (listener, ports)
}

async fn datagram(inbox: &Inbox) -> (Vec<u8>, Flow) {
    let mut buffer = vec![0; LARGEST];
    match timeout(SOON, poll_fn(|cx| inbox.poll(cx, &mut buffer))).await.expect("a datagram in time") {
        Received::Datagram(n, flow) => (buffer[..n].to_vec(), flow),
        Received::Refused(_) => panic!("refused"),
        Received::Broken => panic!("broken"),
    }
}

async fn happened(streams: &mut Streams) -> Happened {
    let next = poll_fn(|cx| {
        streams.poll_accept(cx, 16);
        match streams.poll(cx) {
            Poll::Ready(Happened::Closed) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    });
    timeout(SOON, next).await.expect("something in time")
}

async fn message(streams: &mut Streams) -> (Flow, Bytes) {
    match happened(streams).await {
        Happened::Message(flow, bytes) => (flow, bytes),
        Happened::Broken(..) => panic!("broken"),
        Happened::Unreachable(..) => panic!("unreachable"),
        Happened::Misfit(_) => panic!("a misfit"),
        Happened::Closed => panic!("closed"),
    }
}

fn streams(known: Known) -> (Streams, SocketAddr) {
    let listener = Listener::listen(LOOPBACK, 0, Transport::Tcp).unwrap();
    let at = listener.address().unwrap();
    (Streams::new(vec![listener], known, None, Arc::new(Counters::default())).unwrap(), at)
}

#[test]
fn a_second_bind_fails_also_when_neighbours_share_the_address() {
    let (listener, _ports) = ports(LOOPBACK, &[closed_port()]);
    let at = listener.address().unwrap();
    assert_eq!(Port::listen(at, 0).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let tcp = Listener::listen(LOOPBACK, 0, Transport::Tcp).unwrap();
    assert_eq!(Listener::listen(tcp.address().unwrap(), 0, Transport::Tcp).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_closed_udp_port_is_told_without_being_asked() {
    let nobody = closed_port();
    let (_listener, ports) = ports(LOOPBACK, &[nobody]);
    let (refused, mut told) = unbounded_channel();
    let inboxes: Vec<_> = ports.all().map(|p| Inbox::new(Arc::clone(p), refused.clone()).unwrap()).collect();
    for _ in 0..3 {
        assert_eq!(ports.send(flow(Transport::Udp, nobody), b"OPTIONS sip:x SIP/2.0\r\n\r\n"), Sent::Yes);
        assert_eq!(timeout(SOON, told.recv()).await.expect("in time"), Some(nobody));
    }
    drop(inboxes);
}

#[tokio::test]
async fn a_neighbour_and_a_stranger_are_told_apart_and_both_are_answered_from_the_listener() {
    for at in [LOOPBACK, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)] {
        let (neighbour, stranger) = (UdpSocket::bind(LOOPBACK).unwrap(), UdpSocket::bind(LOOPBACK).unwrap());
        let known = neighbour.local_addr().unwrap();
        let (listener, ports) = ports(at, &[known, known]);
        assert_eq!(ports.all().count(), 2, "two neighbours with one address share a socket");
        let inboxes: Vec<_> = ports.all().map(|p| Inbox::new(Arc::clone(p), unbounded_channel().0).unwrap()).collect();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listener.address().unwrap().port());
        for (socket, inbox) in [(&neighbour, &inboxes[0]), (&stranger, &inboxes[1])] {
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket.send_to(b"hello", to).unwrap();
            let (bytes, came) = datagram(inbox).await;
            assert_eq!((bytes.as_slice(), came.remote), (&b"hello"[..], socket.local_addr().unwrap()));
            assert_eq!(ports.send(came, b"answer"), Sent::Yes);
            let mut buffer = [0; 16];
            let (n, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..n], from), (&b"answer"[..], to));
        }
    }
}

#[tokio::test]
async fn the_largest_datagram_comes_and_goes_whole() {
    let far = UdpSocket::bind(LOOPBACK).unwrap();
    far.set_read_timeout(Some(SOON)).unwrap();
    let (listener, ports) = ports(LOOPBACK, &[far.local_addr().unwrap()]);
    let inbox = Inbox::new(Arc::clone(ports.all().next().unwrap()), unbounded_channel().0).unwrap();
    let largest: Vec<u8> = (0..65_507u32).map(|i| i as u8).collect();
    far.send_to(&largest, listener.address().unwrap()).unwrap();
    let (bytes, came) = datagram(&inbox).await;
    assert!(bytes == largest);
    assert_eq!(ports.send(came, &largest), Sent::Yes);
    let mut buffer = vec![0; LARGEST];
    assert_eq!(far.recv(&mut buffer).unwrap(), largest.len());
    assert_eq!(ports.send(came, &vec![0; 70_000]), Sent::Impossible);
}

#[tokio::test]
async fn ipv6_has_its_own_sockets() {
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let Ok(listener) = Port::listen(v6, 0) else { return };
    let same_port = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listener.address().unwrap().port());
    assert!(Port::listen(same_port, 1).is_ok(), "IPv4 is not taken by the IPv6 listener");
}

#[tokio::test]
async fn a_message_is_whole_however_the_stream_is_cut() {
    let (mut streams, at) = streams(Known::default());
    let mut far = TcpStream::connect(at).await.unwrap();
    far.set_nodelay(true).unwrap();
    let two: [&[u8]; 2] = [b"OPTIONS sip:a SIP/2.0\r\nContent-Length : 3\r\n\r\nabc", b"BYE sip:b SIP/2.0\r\nl: 0\r\n\r\n"];
    let writing = async {
        for piece in two.concat().chunks(7) {
            far.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let reading = async { (message(&mut streams).await, message(&mut streams).await) };
    let ((), ((flow, first), (_, second))) = tokio::join!(writing, reading);
    assert_eq!([&first[..], &second[..]], two);
    assert_eq!(flow.remote, far.local_addr().unwrap());
    assert_ne!(flow.connection, 0);
}

#[tokio::test]
async fn an_answer_takes_the_connection_and_a_ping_gets_a_pong() {
    let (mut streams, at) = streams(Known::default());
    let mut far = TcpStream::connect(at).await.unwrap();
    far.write_all(b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n").await.unwrap();
    let (flow, _) = message(&mut streams).await;
    assert_eq!(streams.send(flow, Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n")), Sent::Yes);
    let mut got = [0; 20];
    timeout(SOON, far.read_exact(&mut got)).await.expect("in time").unwrap();
    let (pong, answer) = (b"\r\n", b"SIP/2.0 200 OK\r\n\r\n");
    assert!(got[..] == [&pong[..], answer].concat() || got[..] == [&answer[..], pong].concat());
}

#[tokio::test]
async fn lost_framing_gets_its_answer_and_then_the_connection_ends() {
    let (mut streams, at) = streams(Known::default());
    let mut far = TcpStream::connect(at).await.unwrap();
    far.write_all(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n").await.unwrap();
    let Happened::Broken(flow, head) = happened(&mut streams).await else { panic!("not broken") };
    assert!(head.starts_with(b"OPTIONS") && head.ends_with(b"Call-ID: 1\r\n\r\n"));
    streams.send(flow, Bytes::from_static(b"SIP/2.0 400 Missing Content-Length\r\n\r\n"));
    let mut got = Vec::new();
    timeout(SOON, far.read_to_end(&mut got)).await.expect("closed in time").unwrap();
    assert_eq!(got, b"SIP/2.0 400 Missing Content-Length\r\n\r\n");
}

#[tokio::test]
async fn a_refused_connection_is_told() {
    let (mut streams, _) = streams(Known::default());
    let nobody = closed_port();
    assert_eq!(streams.send(flow(Transport::Tcp, nobody), Bytes::from_static(b"x")), Sent::Yes);
    assert!(matches!(happened(&mut streams).await, Happened::Unreachable(Transport::Tcp, remote) if remote == nobody));
    assert!(streams.is_empty());
}

#[tokio::test]
async fn p8_a_lost_connection_is_opened_again_for_what_is_to_be_sent() {
    let (mut streams, _) = streams(Known::default());
    let far = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let to = flow(Transport::Tcp, far.local_addr().unwrap());
    for text in [&b"first"[..], b"again"] {
        assert_eq!(streams.send(to, Bytes::from_static(text)), Sent::Yes);
        let (mut connection, _) = timeout(SOON, far.accept()).await.expect("in time").unwrap();
        let mut buffer = [0; 16];
        let n = timeout(SOON, connection.read(&mut buffer)).await.expect("in time").unwrap();
        assert_eq!(&buffer[..n], text);
        drop(connection);
        assert!(matches!(happened(&mut streams).await, Happened::Unreachable(..)), "what was on its way may be lost");
    }
}

#[tokio::test]
async fn what_is_meant_for_a_strangers_connection_goes_there_or_nowhere_and_a_neighbours_is_opened_anew() {
    for (known, sent) in [(Known::default(), Sent::Refused), (Known(vec![(LOOPBACK.ip(), 32)]), Sent::Yes)] {
        let (mut streams, at) = streams(known);
        let mut far = TcpStream::connect(at).await.unwrap();
        far.write_all(b"OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n").await.unwrap();
        let (flow, _) = message(&mut streams).await;
        assert_eq!(streams.send(flow, Bytes::from_static(b"while it is there")), Sent::Yes);
        let mut got = [0; 17];
        timeout(SOON, far.read_exact(&mut got)).await.expect("in time").unwrap();
        // Somebody else may be behind that address by now.
        drop(far);
        assert!(matches!(happened(&mut streams).await, Happened::Unreachable(..)));
        assert_eq!(streams.send(flow, Bytes::from_static(b"INVITE")), sent);
    }
}

#[tokio::test]
async fn a_strangers_connection_that_has_just_ended_is_not_opened_anew_either() {
    let (mut streams, at) = streams(Known::default());
    let mut far = TcpStream::connect(at).await.unwrap();
    far.write_all(b"OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n").await.unwrap();
    let (flow, _) = message(&mut streams).await;
    drop(far);
    // It ends, and nobody has looked yet. Somebody else is behind its address by now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(streams.send(flow, Bytes::from_static(b"INVITE")), Sent::Refused);
}

#[tokio::test]
async fn a_stream_that_takes_no_more_counts_as_not_there_and_what_is_lost_is_counted() {
    let counters = Arc::new(Counters::default());
    let mut streams = Streams::new(Vec::new(), Known::default(), None, Arc::clone(&counters)).unwrap();
    let far = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let to = flow(Transport::Tcp, far.local_addr().unwrap());
    let message = Bytes::from(vec![b'x'; 64 * 1024]);
    let by_contact = Flow { remote: closed_port(), connection: 1, ..to };
    assert_eq!(streams.send(to, message.clone()), Sent::Yes);
    assert_eq!(streams.send(by_contact, message.clone()), Sent::Yes, "the first connection carries it");
    let (_connection, _) = timeout(SOON, far.accept()).await.expect("in time").unwrap();
    let mut sent = Sent::Yes;
    for _ in 0..10_000 {
        sent = streams.send(to, message.clone());
        if sent != Sent::Yes {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(sent, Sent::Refused);
    assert_eq!(counters.dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(matches!(happened(&mut streams).await, Happened::Unreachable(_, remote) if remote == by_contact.remote));
    assert_eq!(streams.send(to, message), Sent::Yes);
    timeout(SOON, far.accept()).await.expect("a new connection").unwrap();
}

#[tokio::test]
async fn a_connection_that_was_opened_to_a_neighbour_is_kept_alive_and_others_are_not() {
    let far = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let at = far.local_addr().unwrap();
    for (known, pings) in [(Known(vec![(at.ip(), 32)]), true), (Known::default(), false)] {
        let (mut streams, ours) = streams(known);
        streams.set_keep_alive(Duration::from_millis(100));
        let mut came_in = TcpStream::connect(ours).await.unwrap();
        came_in.write_all(b"OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n").await.unwrap();
        message(&mut streams).await;
        assert_eq!(streams.send(flow(Transport::Tcp, at), Bytes::from_static(b"first")), Sent::Yes);
        let (mut opened, _) = timeout(SOON, far.accept()).await.expect("in time").unwrap();
        let mut got = [0; 13];
        match pings {
            true => {
                timeout(SOON, opened.read_exact(&mut got)).await.expect("in time").unwrap();
                assert_eq!(&got, b"first\r\n\r\n\r\n\r\n");
            }
            false => {
                timeout(SOON, opened.read_exact(&mut got[..5])).await.expect("in time").unwrap();
                assert!(timeout(Duration::from_millis(400), opened.read(&mut got)).await.is_err(), "silence");
            }
        }
        assert!(timeout(Duration::from_millis(200), came_in.read(&mut got)).await.is_err(), "who came keeps it alive");
    }
}

#[tokio::test]
async fn closing_writes_what_is_left() {
    let (mut streams, _) = streams(Known::default());
    let far = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let to = flow(Transport::Tcp, far.local_addr().unwrap());
    for _ in 0..100 {
        assert_eq!(streams.send(to, Bytes::from_static(b"0123456789")), Sent::Yes);
    }
    streams.close();
    let (mut connection, _) = timeout(SOON, far.accept()).await.expect("in time").unwrap();
    let mut got = Vec::new();
    timeout(SOON, connection.read_to_end(&mut got)).await.expect("closed in time").unwrap();
    assert_eq!(got.len(), 1000);
    let all_closed = poll_fn(|cx| {
        while streams.poll(cx).is_ready() {}
        if streams.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    timeout(SOON, all_closed).await.expect("forgotten in time");
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn b7_a_stranger_is_cut_after_10_s_in_a_message_and_after_60_s_of_silence_and_a_neighbour_only_in_a_message() {
    const PING: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nl: 0\r\n\r\n";
    for (known, times) in [(Known::default(), [10, 10, 10, 60]), (Known(vec![(LOOPBACK.ip(), 32)]), [0, 10, 10, 0])] {
        let (mut streams, at) = streams(known);
        let begun = clock::now();
        let mut tasks = Vec::new();
        for (sent, slowly) in
            [(&b""[..], false), (b"OPTIONS sip:x SIP/2.0\r\n", false), (b"OPTIONS sip:x SIP/2.0\r\n", true), (PING, false)]
        {
            tasks.push(tokio::spawn(async move {
                let mut stream = TcpStream::connect(at).await.unwrap();
                stream.write_all(sent).await.unwrap();
                let (mut read, mut write) = stream.into_split();
                // A byte a second does not help.
                let dripping = async {
                    while slowly && write.write_all(b"x").await.is_ok() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let closed = async {
                    let _ = read.read(&mut [0; 64]).await;
                };
                let first = timeout(Duration::from_secs(70), async {
                    tokio::select! { () = closed => {}, () = dripping => {} }
                });
                first.await.map_or(0, |()| clock::now().since(begun).as_secs())
            }));
        }
        let mut serve = Box::pin(poll_fn(|cx| {
            streams.poll_accept(cx, 16);
            while streams.poll(cx).is_ready() {}
            Poll::<()>::Pending
        }));
        for (task, expected) in tasks.into_iter().zip(times) {
            let took = tokio::select! { took = task => took.unwrap(), () = &mut serve => unreachable!() };
            assert!(took.abs_diff(expected) <= 3, "{took} s, not {expected} s");
        }
    }
}
