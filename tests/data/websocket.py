"""WebSocket with the library `websockets`: a server that says everything back, and a client with many cases.

    websocket.py serve ADDRESS PORT
    websocket.py talk URL TRUSTED IDLE

The client prints JSON: cases that went well, and what was wrong. TRUSTED is a certificate or `-`, IDLE the seconds for
which a connection is left alone.
"""

import asyncio
import hashlib
import json
import os
import socket
import ssl
import struct
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

LARGE = 16 << 20


async def echo(connection):
    async for message in connection:
        match message:
            case "close":
                await connection.close(4001, "as you say")
            case "vanish":
                connection.transport.abort()
            case "many":
                for number in range(1000):
                    await connection.send(f"{number}")
            case _:
                await connection.send(message)


async def run(address, port):
    async with serve(echo, address, int(port), max_size=2 * LARGE, ping_interval=None):
        await asyncio.get_running_loop().create_future()


async def said_back(open_one):
    async with open_one() as connection:
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20, LARGE):
            message = os.urandom(size)
            await connection.send(message)
            assert await connection.recv() == message, size
            text = "ü" * min(size, 100_000)
            await connection.send(text)
            assert await connection.recv() == text, size


async def fragments(open_one):
    async with open_one() as connection:
        for count, size in ((2, 1), (1000, 1), (100, 10_000), (3, 0)):
            parts = [os.urandom(size) for _ in range(count)]
            await connection.send(parts)
            assert await connection.recv() == b"".join(parts), (count, size)


async def pings_within_a_message(open_one):
    async with open_one() as connection:

        async def parts():
            for number in range(5):
                yield b"%d" % number
                await (await connection.ping(f"within {number}"))

        await connection.send(parts())
        assert await connection.recv() == b"01234"


async def pings(open_one):
    async with open_one() as connection:
        for size in (0, 1, 125):
            await (await connection.ping(os.urandom(size)))


async def many_messages(open_one):
    async with open_one() as connection:
        await connection.send("many")
        assert [await connection.recv() for _ in range(1000)] == [f"{number}" for number in range(1000)]


async def both_ways_at_once(open_one):
    async with open_one() as connection:
        sent, got = hashlib.sha256(), hashlib.sha256()

        async def send():
            for _ in range(200):
                message = os.urandom(50_000)
                sent.update(message)
                await connection.send(message)

        sending = asyncio.create_task(send())
        for _ in range(200):
            got.update(await connection.recv())
        await sending
        assert sent.digest() == got.digest()


async def client_closes(open_one):
    for code in (1000, 1001, 3000, 4999):
        async with open_one() as connection:
            await connection.close(code, "enough")
            assert connection.close_code == code, connection.close_code


async def server_closes(open_one):
    async with open_one() as connection:
        await connection.send("close")
        await connection.wait_closed()
        assert (connection.close_code, connection.close_reason) == (4001, "as you say")


async def server_vanishes(open_one):
    async with open_one() as connection:
        await connection.send("vanish")
        await connection.wait_closed()
        # No close frame came: nobody may have made one up.
        assert connection.close_code == 1006, connection.close_code


async def stays_while_nothing_is_said(open_one):
    async with open_one() as connection:
        await asyncio.sleep(IDLE)
        await connection.send("still there")
        assert await connection.recv() == "still there"


async def many_connections(open_one):
    async def one(number):
        async with open_one() as connection:
            for turn in range(10):
                await connection.send(f"{number}/{turn}")
                assert await connection.recv() == f"{number}/{turn}"

    await asyncio.gather(*(one(number) for number in range(100)))


def frame(first, payload, masked=True, length=None):
    size = len(payload) if length is None else length
    head = bytes([first]) + (
        bytes([size | (masked << 7)]) if size < 126 else bytes([126 | (masked << 7)]) + struct.pack("!H", size)
    )
    if not masked:
        return head + payload
    return head + bytes(4) + payload


# What breaks the protocol has to reach the server, whose answer is the code of its close frame.
BROKEN = {
    "reserved bit": (frame(0xC1, b"x"), 1002),
    "reserved opcode": (frame(0x83, b"x"), 1002),
    "reserved control opcode": (frame(0x8B, b"x"), 1002),
    "not masked": (frame(0x81, b"x", masked=False), 1002),
    "control frame in fragments": (frame(0x09, b"x"), 1002),
    "long control frame": (frame(0x89, bytes(126)), 1002),
    "continues nothing": (frame(0x80, b"x"), 1002),
    "begins anew within a message": (frame(0x01, b"x") + frame(0x81, b"y"), 1002),
    "no UTF-8": (frame(0x81, b"\xff\xfe"), 1007),
    "cut UTF-8": (frame(0x81, b"\xc3"), 1007),
    "close frame of one byte": (frame(0x88, b"\x03"), 1002),
    "close code that nobody may send": (frame(0x88, struct.pack("!H", 1005)), 1002),
    "close reason that is no UTF-8": (frame(0x88, struct.pack("!H", 1000) + b"\xff"), 1007),
}


def broken(url, context):
    """The cases above over sockets: the library would not send them."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition("/")[0].partition(":")
    wrong = []
    for name, (data, code) in BROKEN.items():
        plain = socket.create_connection((host, int(port)), 10)
        stream = context.wrap_socket(plain, server_hostname=host) if scheme == "wss" else plain
        head = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        # The first frame goes with the request: it is the other protocol's already.
        stream.sendall(head.encode() + data)
        got = b""
        try:
            while piece := stream.recv(65536):
                got += piece
                if b"\r\n\r\n" in got and len(got.partition(b"\r\n\r\n")[2]) >= 4:
                    break
        except OSError as error:
            got += repr(error).encode()
        answer = got.partition(b"\r\n\r\n")[2]
        if not got.startswith(b"HTTP/1.1 101 ") or answer[:1] != b"\x88" or struct.unpack("!H", answer[2:4])[0] != code:
            wrong.append(f"{name}: {got!r}")
        stream.close()
    return wrong


CASES = [
    said_back,
    fragments,
    pings_within_a_message,
    pings,
    many_messages,
    both_ways_at_once,
    client_closes,
    server_closes,
    server_vanishes,
    stays_while_nothing_is_said,
    many_connections,
]


async def talk(url, context):
    told = {"cases": 0, "wrong": []}
    for compression in (None, "deflate"):

        def open_one():
            return connect(url, ssl=context, compression=compression, max_size=2 * LARGE, ping_interval=None, proxy=None)

        async def one(case):
            told["cases"] += 1
            try:
                await asyncio.wait_for(case(open_one), 50)
            except Exception as error:  # Whatever it is belongs to the result.
                told["wrong"].append(f"{case.__name__}, compression {compression}: {error!r}")

        await asyncio.gather(*(one(case) for case in CASES))
    wrong = await asyncio.to_thread(broken, url, context)
    told["cases"] += len(BROKEN)
    told["wrong"] += wrong
    print(json.dumps(told))


match sys.argv[1:]:
    case ["serve", address, port]:
        asyncio.run(run(address, port))
    case ["talk", url, trusted, idle]:
        IDLE = float(idle)
        context = None
        if trusted != "-":
            context = ssl.create_default_context(cafile=trusted)
            context.set_alpn_protocols(["http/1.1"])
        asyncio.run(talk(url, context))
