"""Sends requests that servers read differently from each other, and a marker after each.

    smuggling.py ADDRESS PORT

Every case asks for /case-N and hides a request for /smuggled-N; the marker is /marker-N on the same connection, and
/after-N on another. What the real servers have seen is for the caller to look at: `own` are the hidden requests that
are requests by every rule. Prints JSON.
"""

import json
import socket
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events

ADDRESS = (sys.argv[1], int(sys.argv[2]))
HIDDEN = b"GET /smuggled-%d HTTP/1.1\r\nHost: x\r\n\r\n"


def post(fields, body):
    return lambda n: b"POST /case-%d HTTP/1.1\r\nHost: x\r\n" % n + fields + b"\r\n" + (body(n) if callable(body) else body)


def cl_te(fields):
    """By its length the body holds a request; by its chunks it ends before it."""

    def case(n):
        body = b"0\r\n\r\n" + HIDDEN % n
        return b"POST /case-%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (n, len(body)) + fields + b"\r\n" + body

    return case


def te_cl(fields):
    """By its chunks the body holds a request; by its length it ends before it."""

    def case(n):
        hidden = HIDDEN % n
        chunk = b"%x\r\n" % len(hidden)
        rest = chunk + hidden + b"\r\n0\r\n\r\n"
        return b"POST /case-%d HTTP/1.1\r\nHost: x\r\n" % n + fields + b"Content-Length: %d\r\n\r\n" % len(chunk) + rest

    return case


def te_only(fields):
    return post(fields, lambda n: b"0\r\n\r\n" + HIDDEN % n)


def chunks(raw):
    """A chunked body that is wrong somewhere before a request."""
    return post(b"Transfer-Encoding: chunked\r\n", lambda n: raw + HIDDEN % n)


def head(raw):
    return lambda n: raw.replace(b"@", b"%d" % n)


TE = b"Transfer-Encoding: chunked\r\n"
CASES = {
    # Two lengths.
    "CL.TE": cl_te(TE),
    "TE.CL": te_cl(TE),
    "CL.TE, TE first": lambda n: te_cl(TE)(n),
    "CL.TE, tab before the coding": cl_te(b"Transfer-Encoding:\tchunked\r\n"),
    "CL.TE, vertical tab": cl_te(b"Transfer-Encoding: \x0bchunked\r\n"),
    "CL.TE, form feed": cl_te(b"Transfer-Encoding: \x0cchunked\r\n"),
    "CL.TE, NUL": cl_te(b"Transfer-Encoding: chunked\x00\r\n"),
    "CL.TE, xchunked": cl_te(b"Transfer-Encoding: xchunked\r\n"),
    "CL.TE, space before the colon": cl_te(b"Transfer-Encoding : chunked\r\n"),
    "CL.TE, tab before the colon": cl_te(b"Transfer-Encoding\t: chunked\r\n"),
    "CL.TE, field begins with a space": cl_te(b" Transfer-Encoding: chunked\r\n"),
    "CL.TE, folded": cl_te(b"Transfer-Encoding:\r\n chunked\r\n"),
    "CL.TE, folded after another": cl_te(b"X-A: b\r\n\tTransfer-Encoding: chunked\r\n"),
    "CL.TE, twice": cl_te(TE + b"Transfer-Encoding: identity\r\n"),
    "CL.TE, twice the other way": cl_te(b"Transfer-Encoding: identity\r\n" + TE),
    "CL.TE, list": cl_te(b"Transfer-Encoding: chunked, identity\r\n"),
    "CL.TE, list the other way": cl_te(b"Transfer-Encoding: identity, chunked\r\n"),
    "CL.TE, quoted": cl_te(b'Transfer-Encoding: "chunked"\r\n'),
    "CL.TE, single quotes": cl_te(b"Transfer-Encoding: 'chunked'\r\n"),
    "CL.TE, capitals": cl_te(b"tRANSFER-eNCODING: CHUNKED\r\n"),
    "CL.TE, empty element": cl_te(b"Transfer-Encoding: ,chunked\r\n"),
    "CL.TE, parameter": cl_te(b"Transfer-Encoding: chunked;q=1\r\n"),
    "CL.TE, trailing semicolon": cl_te(b"Transfer-Encoding: chunked;\r\n"),
    "CL.TE, underscore": cl_te(b"Transfer_Encoding: chunked\r\n"),
    "CL.TE, bare CR within": cl_te(b"X: y\rTransfer-Encoding: chunked\r\n"),
    "CL.TE, bare LF within": cl_te(b"X: y\nTransfer-Encoding: chunked\r\n"),
    "CL.TE, two CR": cl_te(b"Transfer-Encoding: chunked\r\r\n"),
    "CL.TE, high byte": cl_te(b"Transfer-Encoding: chunked\xa0\r\n"),
    "CL.TE, name with a high byte": cl_te(b"Transfer-Encoding\xa0: chunked\r\n"),
    "CL.TE, gzip": cl_te(b"Transfer-Encoding: gzip\r\n"),
    "TE.CL, xchunked": te_cl(b"Transfer-Encoding: xchunked\r\n"),
    "TE.CL, underscore": te_cl(b"Transfer_Encoding: chunked\r\n"),
    "TE.CL, twice": te_cl(TE + b"Transfer-encoding: cow\r\n"),
    "TE.CL, named in Connection": te_cl(TE + b"Connection: transfer-encoding\r\n"),
    # Which length.
    "two lengths": post(b"Content-Length: 0\r\nContent-Length: 38\r\n", lambda n: HIDDEN % n),
    "two lengths, other order": post(b"Content-Length: 38\r\nContent-Length: 0\r\n", lambda n: HIDDEN % n),
    "list of lengths": post(b"Content-Length: 0, 38\r\n", lambda n: HIDDEN % n),
    "list of equal lengths": post(b"Content-Length: 0, 0\r\n", lambda n: HIDDEN % n),
    "length with plus": post(b"Content-Length: +0\r\n", lambda n: HIDDEN % n),
    "length with minus": post(b"Content-Length: -0\r\n", lambda n: HIDDEN % n),
    "negative length": post(b"Content-Length: -1\r\n", lambda n: HIDDEN % n),
    "hexadecimal length": post(b"Content-Length: 0x26\r\n", lambda n: HIDDEN % n),
    "length overflows": post(b"Content-Length: 18446744073709551616\r\n", lambda n: HIDDEN % n),
    "length with underscore": post(b"Content-Length: 0_0\r\n", lambda n: HIDDEN % n),
    "length with space": post(b"Content-Length: 3 8\r\n", lambda n: HIDDEN % n),
    "length with point": post(b"Content-Length: 0.0\r\n", lambda n: HIDDEN % n),
    "length empty": post(b"Content-Length: \r\n", lambda n: HIDDEN % n),
    "space before the colon of the length": post(b"Content-Length : 0\r\n", lambda n: HIDDEN % n),
    "length folded": post(b"Content-Length:\r\n 0\r\n", lambda n: HIDDEN % n),
    "length in disguise": lambda n: post(b"Content_Length: %d\r\nContent-Length: 0\r\n" % len(HIDDEN % n), b"")(n),
    "length named in Connection": lambda n: post(
        b"Connection: content-length\r\nContent-Length: %d\r\n" % len(HIDDEN % n), HIDDEN % n
    )(n),
    # What is in the chunks.
    "chunk size with 0x": chunks(b"0x0\r\n\r\n"),
    "chunk size with plus": chunks(b"+0\r\n\r\n"),
    "chunk size with minus": chunks(b"-0\r\n\r\n"),
    "negative chunk size": chunks(b"-1\r\n\r\n"),
    "chunk size overflows": chunks(b"10000000000000000\r\n\r\n"),
    "chunk size overflows to a small one": chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a space before": chunks(b" 0\r\n\r\n"),
    "chunk size with underscore": chunks(b"0_0\r\n\r\n"),
    "chunk size empty": chunks(b"\r\n\r\n"),
    "chunk size ends with LF": chunks(b"0\n\n"),
    "chunk extension with LF": chunks(b"5;a\nhello\r\n0\r\n\r\n"),
    "chunk extension with CR": chunks(b"5;a\rhello\r\n0\r\n\r\n"),
    "chunk longer than said": chunks(b"3\r\nhello\r\n0\r\n\r\n"),
    "chunk without an end": chunks(b"5\r\nhelloXX0\r\n\r\n"),
    "chunk that ends with LF": chunks(b"5\r\nhello\n0\r\n\r\n"),
    "trailer is a length": post(TE, lambda n: b"0\r\nContent-Length: 38\r\n\r\n"),
    "trailer is an encoding": post(TE, lambda n: b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "trailer without an end": post(TE, lambda n: b"0\r\nX: y\n\n" + HIDDEN % n),
    "chunked in HTTP/1.0": lambda n: te_only(TE)(n).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "two codings, the last is not chunked": te_only(b"Transfer-Encoding: chunked, gzip\r\n"),
    # Where the head ends, and what it is about.
    "head ends with bare LF": head(b"GET /case-@ HTTP/1.1\r\nHost: x\r\nX: y\n\nGET /smuggled-@ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "all lines end with LF": head(b"POST /case-@ HTTP/1.1\nHost: x\nContent-Length: 0\n\n"),
    "GET with a body": lambda n: b"GET /case-%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (n, len(HIDDEN % n)) + HIDDEN % n,
    "HEAD with a body": lambda n: b"HEAD /case-%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (n, len(HIDDEN % n)) + HIDDEN % n,
    "expects, and sends at once": lambda n: b"POST /case-%d HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (n, len(HIDDEN % n)) + HIDDEN % n,
    "expects in a strange way": lambda n: b"POST /case-%d HTTP/1.1\r\nHost: x\r\nExpect: y 100-continue\r\nContent-Length: %d\r\n\r\n" % (n, len(HIDDEN % n)) + HIDDEN % n,
    "upgrade to h2c": head(b"GET /case-@ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    "upgrade that nobody wants, then a request": head(b"GET /case-@ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
    "HTTP/0.9": head(b"GET /case-@\r\n"),
    "HTTP/2.0 as text": head(b"GET /case-@ HTTP/2.0\r\nHost: x\r\n\r\n"),
    "two hosts": head(b"GET /case-@ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    "space in the target": head(b"GET /case-@ /smuggled-@ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "tab in the request line": head(b"GET\t/case-@\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    "CR in the target": head(b"GET /case-@\rX HTTP/1.1\r\nHost: x\r\n\r\n"),
    "field without a name": head(b"GET /case-@ HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n"),
    "line without a colon": head(b"GET /case-@ HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n"),
    "CONNECT": head(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\nGET /smuggled-@ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "empty lines before": head(b"\r\n\r\nGET /case-@ HTTP/1.1\r\nHost: x\r\n\r\n"),
}

# In these the second request is one by every rule: no coding is named, or a line may end with LF alone.
OWN = {"TE.CL, underscore", "head ends with bare LF"}

H2 = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/case-@")]


def fields(*more, instead=()):
    instead = dict(instead)
    return [(name, instead.get(name, value)) for name, value in H2] + list(more)


HIDE = b"0\r\n\r\nGET /smuggled-@ HTTP/1.1\r\nHost: x\r\n\r\n"
SPLIT = b" HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled-@ HTTP/1.1\r\nHost: x\r\n\r\n"
# Over HTTP/2: fields and body.
CASES_OF_2 = {
    "transfer-encoding": (fields((b"transfer-encoding", b"chunked")), HIDE),
    "transfer-encoding, capitals": (fields((b"Transfer-Encoding", b"chunked")), HIDE),
    "connection": (fields((b"connection", b"transfer-encoding")), b""),
    "keep-alive": (fields((b"keep-alive", b"1")), b""),
    "proxy-connection": (fields((b"proxy-connection", b"close")), b""),
    "upgrade": (fields((b"upgrade", b"h2c")), b""),
    "te": (fields((b"te", b"gzip")), b""),
    "length too small": (fields((b"content-length", b"0")), HIDE),
    "length too large": (fields((b"content-length", b"400")), HIDE),
    "two lengths": (fields((b"content-length", b"0"), (b"content-length", b"47")), HIDE),
    "length is a list": (fields((b"content-length", b"0, 47")), HIDE),
    "CRLF in a value": (fields((b"x", b"y\r\ntransfer-encoding: chunked")), HIDE),
    "LF in a value": (fields((b"x", b"y\ntransfer-encoding: chunked")), HIDE),
    "NUL in a value": (fields((b"x", b"y\0z")), HIDE),
    "CRLF in a name": (fields((b"x: y\r\ntransfer-encoding", b"chunked")), HIDE),
    "colon in a name": (fields((b"transfer-encoding: chunked", b"x")), HIDE),
    "space in a name": (fields((b"transfer-encoding ", b"chunked")), HIDE),
    "value begins with a space": (fields((b"x", b" y")), b""),
    "CRLF in the path": (fields(instead={b":path": b"/case-@" + SPLIT}), b""),
    "space in the path": (fields(instead={b":path": b"/case-@ HTTP/1.1"}), b""),
    "path that is none": (fields(instead={b":path": b"case-@"}), b""),
    "empty path": (fields(instead={b":path": b""}), b""),
    "CRLF in the method": (fields(instead={b":method": b"GET /smuggled-@" + SPLIT}), b""),
    "space in the method": (fields(instead={b":method": b"GET /smuggled-@"}), b""),
    "CRLF in the authority": (fields(instead={b":authority": b"x\r\n\r\nGET /smuggled-@ HTTP/1.1\r\nHost: x"}), b""),
    "user in the authority": (fields(instead={b":authority": b"x@y"}), b""),
    "scheme with a host": (fields(instead={b":scheme": b"http://x/smuggled-@?"}), b""),
    "host beside the authority": (fields((b"host", b"other")), b""),
    "two paths": (fields((b":path", b"/smuggled-@")), b""),
    "unknown pseudo field": (fields((b":x", b"y")), b""),
    "pseudo field after a field": (fields((b"x", b"y"), (b":path", b"/smuggled-@")), b""),
    "no path": ([field for field in H2 if field[0] != b":path"], b""),
}


def connect():
    stream = socket.create_connection(ADDRESS, 10)
    stream.settimeout(10)
    return stream


def received(stream):
    """All that comes until the connection ends."""
    data = b""
    try:
        while piece := stream.recv(65536):
            data += piece
    except OSError:
        pass
    return data


def ask(path):
    with connect() as stream:
        stream.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        return received(stream)


def over_1(number, case):
    marker = b"GET /marker-%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % number
    with connect() as stream:
        try:
            stream.sendall(case(number) + marker)
            # A server that waits for more is told that there is none.
            stream.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return received(stream)


def over_2(number, headers, body):
    """The answer to the case, and that to the marker, as far as the connection has survived."""
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
    )
    connection = h2.connection.H2Connection(config)
    put = lambda value: value.replace(b"@", b"%d" % number)
    said = {1: b"", 3: b""}
    ended = set()
    with connect() as stream:
        connection.initiate_connection()
        connection.send_headers(1, [(put(name), put(value)) for name, value in headers], end_stream=not body)
        if body:
            connection.send_data(1, put(body), end_stream=True)
        marker = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/marker-%d" % number)]
        connection.send_headers(3, marker, end_stream=True)
        try:
            stream.sendall(connection.data_to_send())
            while len(ended) < 2 and (data := stream.recv(65536)):
                for event in connection.receive_data(data):
                    match event:
                        case h2.events.ResponseReceived():
                            said[event.stream_id] += dict(event.headers)[b":status"] + b" "
                        case h2.events.DataReceived():
                            said[event.stream_id] += event.data
                        case h2.events.StreamEnded() | h2.events.StreamReset():
                            ended.add(event.stream_id)
                        case h2.events.ConnectionTerminated():
                            ended |= {1, 3}
                stream.sendall(connection.data_to_send())
        except OSError:
            pass
    return said[1], said[3]


def main():
    told = {"cases": 0, "refused": 0, "passed": 0, "markers": 0, "own": [], "wrong": []}

    def judge(name, number, said, marker):
        told["cases"] += 1
        told["passed" if b"/case-%d" % number in said else "refused"] += 1
        if marker:
            told["markers"] += 1
        text = said + marker
        if (b"smuggled" in text) != (name in OWN):
            told["wrong"].append(f"{name}: the hidden request was answered, or its own not: {text!r}")
        after = ask(b"/after-%d" % number)
        if b" 200 " not in after or b"/after-%d" % number not in after:
            told["wrong"].append(f"{name}: the next request was answered with {after!r}")

    for number, (name, case) in enumerate(CASES.items()):
        said = over_1(number, case)
        own, found, marker = said.partition(b"/marker-%d" % number)
        judge(name, number, own, found)
        if name in OWN:
            told["own"].append(f"GET /smuggled-{number} HTTP/1.1")
    for number, (name, (headers, body)) in enumerate(CASES_OF_2.items(), 1000):
        said, marker = over_2(number, headers, body)
        if marker and marker != b"200 /marker-%d\n" % number:
            told["wrong"].append(f"HTTP/2, {name}: the marker was answered with {marker!r}")
        judge(f"HTTP/2, {name}", number, said, marker)
    print(json.dumps(told))


main()
