"""A real server that misbehaves as the path of a request says, and tells at /seen what it was sent.

    odd_server.py ADDRESS PORT
"""

import asyncio
import json
import socket
import struct
import sys

CHUNK = b"x" * 65536
seen = []


def answer(body, extra=b""):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), extra, body)


async def head(reader):
    """The first line and the fields of the next request, or None."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = raw[:-4].split(b"\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower().decode()] = value.strip().decode("latin-1")
    method, path, _ = lines[0].decode("latin-1").split(" ", 2)
    return method, path, fields


async def body(reader, fields):
    """Reads a request's body; its length."""
    if "chunked" in fields.get("transfer-encoding", ""):
        total = 0
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                while await reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return total
            await reader.readexactly(size + 2)
            total += size
    left = int(fields.get("content-length", 0))
    total = left
    while left:
        left -= len(await reader.readexactly(min(left, 1 << 20)))
    return total


def reset(writer):
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def serve(reader, writer):
    served = 0
    try:
        while request := await head(reader):
            method, path, fields = request
            if path == "/seen":
                writer.write(answer(json.dumps(seen).encode()))
                continue
            seen.append(f"{method} {path}")
            if not await behave(path.split("?")[0], fields, served, reader, writer):
                break
            served += 1
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def behave(path, fields, served, reader, writer):
    """False: the connection is over."""
    match path:
        case "/never-reads":
            await asyncio.sleep(60)
            return False
        case "/never-answers":
            await body(reader, fields)
            await asyncio.sleep(60)
            return False
        case "/resets-mid-request":
            await reader.read(100)
            reset(writer)
            return False
        case "/resets-mid-answer":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 500)
            await writer.drain()
            await asyncio.sleep(0.2)
            reset(writer)
            return False
        case "/short":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 500)
            return False
        case "/short-chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            return False
        case "/early":
            writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")
            await writer.drain()
            return False
        case "/early-stays":
            writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nearly")
            await writer.drain()
            await asyncio.sleep(60)
            return False
        case "/garbage":
            writer.write(b"\x00\x01\x02 this is no HTTP at all\r\n\r\n")
            return False
        case "/garbage-head":
            writer.write(b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 2\r\n\r\nok")
            return False
        case "/huge-head":
            writer.write(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"h" * 2_000_000 + b"\r\nContent-Length: 2\r\n\r\nok")
            return False
        case "/endless-head":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"X-More: %s\r\n" % (b"m" * 1000))
                await writer.drain()
        case "/endless-interim":
            while True:
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)
                await writer.drain()
                await asyncio.sleep(0.01)
        case "/two-lengths":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 20\r\n\r\nok")
        case "/length-and-chunks":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        case "/two-answers":
            writer.write(answer(b"first") + answer(b"POISON"))
        case "/two-answers-late":
            writer.write(answer(b"first"))
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(answer(b"POISON"))
        case "/unasked-upgrade":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\n")
        case "/closes-after":
            # Keeps the connection as far as anybody can tell, and closes it when it is used again.
            await body(reader, fields)
            if served:
                return False
            writer.write(answer(b"once"))
        case "/closes-at-once":
            await body(reader, fields)
            writer.write(answer(b"once"))
            return False
        case "/resets-when-used":
            await body(reader, fields)
            if served:
                reset(writer)
                return False
            writer.write(answer(b"once"))
        case "/big":
            size = 100 << 20
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // len(CHUNK)):
                writer.write(CHUNK)
                await writer.drain()
        case "/drips":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b"d")
                await writer.drain()
                await asyncio.sleep(1)
        case _:
            length = await body(reader, fields)
            writer.write(answer(f"{path} {length}".encode()))
    return True


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]), backlog=4096, limit=1 << 20)
    async with server:
        await server.serve_forever()


asyncio.run(main())
