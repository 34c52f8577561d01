#!/usr/bin/python3
"""Carries SIP between its terminal, a stream, and a WebSocket, one message a frame; by Debian's python3-websockets.

relay.py URI [ORIGIN] [ROOTS]: text frames where the message is text, binary ones else.
"""
import asyncio
import re
import ssl
import sys

import websockets


async def next_message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.strip():
        return head
    length = re.search(rb"^(?:Content-Length|l)\s*:\s*(\d+)", head, re.I | re.M)
    return head + (await reader.readexactly(int(length.group(1))) if length else b"")


async def main(uri, origin=None, roots=None):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    context = ssl.create_default_context(cafile=roots) if roots else None
    async with websockets.connect(uri, subprotocols=["sip"], origin=origin or None, ssl=context, compression=None) as socket:
        assert socket.subprotocol == "sip", socket.subprotocol

        async def out():
            while True:
                message = await next_message(reader)
                try:
                    await socket.send(message.decode())
                except UnicodeDecodeError:
                    await socket.send(message)

        async def back():
            async for message in socket:
                sys.stdout.buffer.write(message.encode() if isinstance(message, str) else message)
                sys.stdout.buffer.flush()

        await asyncio.wait([asyncio.create_task(out()), asyncio.create_task(back())], return_when=asyncio.FIRST_COMPLETED)


asyncio.run(main(*sys.argv[1:]))
