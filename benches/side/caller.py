"""A caller and a callee in one: places calls at a steady pace over UDP and keeps, of each, when it began and how long its
set-up took, so that what a storm does to them can be drawn second by second. For 20 calls a second, not for thousands: the load
itself is sipload's."""

import re
import selectors
import socket
import time

T1 = 0.5  # RFC 3261 section 17.1.1.1
GIVE_UP = 8.0


def field(message, name):
    found = re.search(rb"^%s\s*:\s*(.*?)\r$" % name, message, re.I | re.M)
    return found.group(1) if found else b""


def fields(message, name):
    return re.findall(rb"^(%s\s*:.*?\r\n)" % name, message, re.I | re.M)


class Call:
    def __init__(self, number, began):
        self.number, self.began, self.setup, self.reached = number, began, None, None
        self.next, self.interval, self.status = began + T1, T1, 0


class Caller:
    """`target`: the port of the server; `local`: ours; `callees`: port -> what the callee there does: "answer", "refuse" (503) or
    "silent"; `dialed`: the user of call n."""

    def __init__(self, target, local, callees, dialed, who="agent"):
        self.target, self.dialed, self.who = ("127.0.0.1", target), dialed, who
        self.local, self.calls, self.tag = local, {}, f"{time.monotonic_ns():x}"
        self.selector, self.sockets = selectors.DefaultSelector(), []
        self.caller = self.open(local, None)
        for port, does in callees.items():
            self.open(port, does)

    def open(self, port, does):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind(("127.0.0.1", port))
        opened.setblocking(False)
        self.selector.register(opened, selectors.EVENT_READ, (port, does))
        self.sockets.append(opened)
        return opened

    def close(self):
        for one in self.sockets:
            one.close()

    def place(self, count, rate):
        """Places so many calls at so many a second; gives them, once each has an end."""
        begin, placed = time.monotonic(), 0
        while True:
            now = time.monotonic()
            while placed < count and now >= begin + placed / rate:
                self.calls[placed] = Call(placed, now)
                self.caller.sendto(self.invite(placed), self.target)
                placed += 1
            open_calls = [c for c in self.calls.values() if not c.status]
            for call in open_calls:
                if now - call.began > GIVE_UP:
                    call.status = 408
                elif call.setup is None and now >= call.next:
                    self.caller.sendto(self.invite(call.number), self.target)
                    call.interval *= 2
                    call.next = now + call.interval
            if placed == count and not open_calls:
                return list(self.calls.values())
            for key, _ in self.selector.select(timeout=0.002):
                self.read(key.fileobj, *key.data)

    def read(self, opened, port, does):
        while True:
            try:
                message, whence = opened.recvfrom(65535)
            except OSError:
                return
            if message.startswith(b"SIP/2.0"):
                self.response(message)
            else:
                self.request(opened, port, does, message, whence)

    def request(self, opened, port, does, message, whence):
        method = message.split(b" ", 1)[0]
        if method == b"INVITE":
            token = re.search(rb"^s=c(\d+)", message, re.M)
            call = self.calls.get(int(token.group(1))) if token else None
            if call and does == "answer" and call.reached is None:
                call.reached = time.monotonic()
            if does == "refuse":
                opened.sendto(self.reply(message, b"503 Service Unavailable", port, b""), whence)
            elif does == "answer":
                token = token.group(1) if token else b"0"
                sdp = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=c%s\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 31000 RTP/AVP 0\r\n" % token
                opened.sendto(self.reply(message, b"180 Ringing", port, b""), whence)
                opened.sendto(self.reply(message, b"200 OK", port, sdp), whence)
        elif method != b"ACK" and does != "silent":
            opened.sendto(self.reply(message, b"200 OK", port, b""), whence)

    def reply(self, message, status, port, sdp):
        to = field(message, b"To")
        to = to if b"tag=" in to else to + b";tag=callee"
        kept = b"".join(fields(message, b"Via") + fields(message, b"Record-Route") + fields(message, b"From"))
        kept += b"".join(fields(message, b"Call-ID") + fields(message, b"CSeq"))
        about = b"Content-Type: application/sdp\r\n" if sdp else b""
        head = b"SIP/2.0 %s\r\n%sTo: %s\r\nContact: <sip:callee@127.0.0.1:%d>\r\n%sContent-Length: %d\r\n\r\n"
        return head % (status, kept, to, port, about, len(sdp)) + sdp

    def response(self, message):
        number = re.match(rb"(\d+)-", field(message, b"Call-ID"))
        call = self.calls.get(int(number.group(1))) if number else None
        status = int(message[8:11])
        if call is None or status < 200 or b"INVITE" not in field(message, b"CSeq"):
            if call is not None:
                call.next = float("inf")
            return
        if call.setup is None:
            call.setup = time.monotonic() - call.began
            call.status = status
        self.caller.sendto(self.in_dialog("ACK", 1, call, message), self.target)
        if status == 200:
            self.caller.sendto(self.in_dialog("BYE", 2, call, message), self.target)

    def invite(self, number):
        user, who = self.dialed(number), f"{self.who}{number}"
        sdp = (
            f"v=0\r\no=- {number + 1} 1 IN IP4 127.0.0.1\r\ns=c{number}\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            "m=audio 30000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        )
        return (
            f"INVITE sip:{user}@127.0.0.1:{self.target[1]} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.local};branch=z9hG4bK-i{number}-{self.tag}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{who}@pbx.example.net>;tag=f{number}-{self.tag}\r\nTo: <sip:{user}@pbx.example.net>\r\n"
            f"Call-ID: {number}-{self.tag}@127.0.0.1\r\nCSeq: 1 INVITE\r\nContact: <sip:{who}@127.0.0.1:{self.local}>\r\n"
            f"P-Asserted-Identity: <sip:{who}@pbx.example.net>\r\nContent-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        ).encode()

    def in_dialog(self, method, cseq, call, message):
        contact = re.search(rb"<([^>]+)>", field(message, b"Contact"))
        uri = contact.group(1) if contact else b"sip:%s@127.0.0.1" % self.dialed(call.number).encode()
        branch = f"i{call.number}" if method == "ACK" and call.status != 200 else f"{method[0].lower()}{call.number}"
        routes = b"".join(b"Route:" + one.split(b":", 1)[1] for one in reversed(fields(message, b"Record-Route")))
        head = (
            f" SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.local};branch=z9hG4bK-{branch}-{self.tag}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:{self.who}{call.number}@pbx.example.net>;tag=f{call.number}-{self.tag}\r\n"
            f"Call-ID: {call.number}-{self.tag}@127.0.0.1\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n"
        )
        return method.encode() + b" " + uri + head.encode() + b"To: " + field(message, b"To") + b"\r\n" + routes + b"\r\n"
