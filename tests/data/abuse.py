"""Clients that behave badly, and one that behaves well.

    abuse.py ADDRESS clients | servers | idle COUNT | bystander

`clients` and `servers` do everything at once and print how each ended: the first line of the answer, how many bytes
came, and `end`, `reset` or `timeout`. Port 80 is a service of well-behaved servers, 443 its TLS, 81 one of a server
that misbehaves, 82 one with PROXY headers, 90 the bystander's.
"""

import collections
import json

import resource
import select
import signal
import socket
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

VIP = sys.argv[1]
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PATIENCE = 25
MEGABYTES = 100


def connect(port=80, receive=None):
    stream = socket.socket()
    if receive:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    stream.settimeout(PATIENCE)
    stream.connect((VIP, port))
    return stream


def rest(stream):
    """What comes until the end, and which end."""
    data, length, end = b"", 0, "end"
    try:
        while piece := stream.recv(65536):
            data = data if len(data) > 4096 else data + piece
            length += len(piece)
    except TimeoutError:
        end = "timeout"
    except OSError:
        end = "reset"
    line = data.split(b"\r\n")[0].decode("latin-1") if data.startswith(b"HTTP/") else ""
    return {"line": line, "bytes": length, "end": end, "text": data.partition(b"\r\n\r\n")[2][:200].decode("latin-1")}


def send(data, port=80, close=False):
    def attack():
        with connect(port) as stream:
            try:
                stream.sendall(data)
                if close:
                    stream.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return rest(stream)

    return attack


def dribble(first, piece, port=80):
    """Sends a piece every so often until something comes."""

    def attack():
        with connect(port) as stream:
            stream.sendall(first)
            begun = time.monotonic()
            while time.monotonic() - begun < PATIENCE and not select.select([stream], [], [], 0.3)[0]:
                try:
                    stream.sendall(piece)
                except OSError:
                    break
            return rest(stream)

    return attack


def never_reads():
    with connect(81, receive=4096) as stream:
        stream.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(6)
        told = rest(stream)
    told["all"] = told["bytes"] > MEGABYTES << 20
    return told


def pipelines_a_part():
    """An answer must not wait for the rest of the next request."""
    with connect() as stream:
        stream.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHo")
        data = stream.recv(65536)
        stream.sendall(b"st: x\r\nConnection: close\r\n\r\n")
        told = rest(stream)
    told["first"] = b"/first" in data
    return told


def many_at_once(attack, count):
    def attacks():
        told = [None] * count

        def one(number):
            told[number] = attack()

        threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return {**told[0], "ends": dict(collections.Counter(each["end"] for each in told))}

    return attacks


class Two:
    """A client of HTTP/2 that does what it likes."""

    def __init__(self, port=80, settings=None):
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        self.connection = h2.connection.H2Connection(config)
        if settings:
            self.connection.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.connection.initiate_connection()
        self.stream = connect(port)
        self.flush()

    def flush(self):
        self.stream.sendall(self.connection.data_to_send())

    def ask(self, number, path, end=True, more=()):
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path), *more]
        self.connection.send_headers(number, fields, end_stream=end)

    def events(self, until=lambda event: False, patience=PATIENCE):
        """All that happens until that, or the connection's end."""
        events, deadline = [], time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self.stream.settimeout(left)
            try:
                data = self.stream.recv(65536)
                if not data:
                    return events, "end"
                new = self.connection.receive_data(data)
                self.flush()
            except TimeoutError:
                return events, "timeout"
            except OSError:
                return events, "reset"
            except h2.exceptions.ProtocolError:
                # The library knows nothing that comes after a good-bye.
                continue
            events += new
            if any(until(event) for event in new):
                return events, "done"
        return events, "timeout"


def told(events, end, client):
    client.stream.close()
    codes = [int(event.error_code) for event in events if isinstance(event, h2.events.ConnectionTerminated)]
    kinds = collections.Counter(type(event).__name__ for event in events)
    return {"end": end, "goodbye": codes[0] if codes else None, "events": dict(kinds)}


def flood(count, frames):
    """Sends that many of something, as far as it is let."""

    def attack():
        client = Two()
        sent = 0
        try:
            for sent in range(count):
                frames(client, sent)
                if sent % 100 == 0:
                    client.flush()
            client.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        events, end = client.events()
        return {**told(events, end, client), "sent": sent}

    return attack


def rapid_reset(client, number):
    client.ask(1 + 2 * number, "/rapid")
    client.connection.reset_stream(1 + 2 * number, 8)


def raw(frame):
    return lambda client, number: client.stream.sendall(frame)


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def continuations(client, number):
    if number == 0:
        client.flush()
        client.stream.sendall(frame(1, 0, 1, b"\x82\x87"))
    client.stream.sendall(frame(9, 0, 1, b"\x00\x01x\x40" + b"y" * 64))


def closed_window():
    client = Two(81, {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for number in (1, 3, 5):
        client.ask(number, "/ok")
    client.ask(7, "/big")
    client.flush()
    return told(*client.events(), client)


def one_window_closed():
    """A stream that is not read does not hold up another of its connection."""
    client = Two(81)
    client.ask(1, "/big")
    client.flush()
    events, end = client.events(lambda event: isinstance(event, h2.events.StreamReset), 12)
    answers = 0
    for number in (3, 5):
        client.connection.increment_flow_control_window(1 << 20)
        client.ask(number, "/ok")
        client.flush()
        more, _ = client.events(lambda event: isinstance(event, h2.events.StreamEnded) and event.stream_id == number, 8)
        answers += any(isinstance(event, h2.events.StreamEnded) for event in more)
    return {**told(events, end, client), "answers": answers}


def many_fields(count):
    def attack():
        client = Two()
        client.ask(1, "/", more=[(f"x-{number}", "a" * 60) for number in range(count)])
        client.flush()
        events, end = client.events(lambda event: isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)))
        heads = [dict(event.headers) for event in events if isinstance(event, h2.events.ResponseReceived)]
        status = [head.get(b":status", b"").decode() for head in heads]
        return {**told(events, end, client), "status": status[0] if status else ""}

    return attack




LONG_V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x13\x88" + bytes(12) + b"\x04" + (4985).to_bytes(2, "big") + bytes(4985)
CLIENTS = {
    "slow-head": dribble(b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: y\r\n"),
    "slow-lines": dribble(b"", b"\r\n"),
    "slow-body": send(b"POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na", 81),
    "slow-chunks": send(b"POST /ok HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", 81),
    "100-slow-heads": many_at_once(dribble(b"GET / HTTP/1.1\r\n", b"X-A: y\r\n"), 100),
    "100-kb-of-head": send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
    "1000-fields": send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    "no-http": send(b"\x00\x01\x02\r\n\r\n" + b"a" * 5000),
    "never-reads": never_reads,
    "pipelines-a-part": pipelines_a_part,
    "half-a-preface": many_at_once(send(b"PRI * HT", close=True), 20),
    "half-a-handshake": send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 443),
    "tls-garbage": send(bytes(range(256)) * 8, 443),
    "http-to-tls": send(GET, 443),
    "proxy-none": send(GET, 82),
    "proxy-malformed": send(b"PROXY TCP4 1.1.1.1\r\n" + GET, 82),
    "proxy-long": send(LONG_V2 + GET, 82),
    "proxy-half": send(b"PROXY TCP4 192.0", 82),
    "proxy-half-closed": many_at_once(send(b"PROXY TCP4 192.0", 82, close=True), 20),
    "proxy-right": send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET, 82),
    "h2-rapid-reset": flood(10_000, rapid_reset),
    "h2-settings": flood(10_000, raw(frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x64"))),
    "h2-pings": flood(10_000, raw(frame(6, 0, 0, b"12345678"))),
    "h2-continuations": flood(10_000, continuations),
    "h2-empty-data": flood(10_000, raw(frame(0, 0, 1, b""))),
    "h2-closed-window": closed_window,
    "h2-one-window-closed": one_window_closed,
    "h2-1000-fields": many_fields(1000),
}

UPLOAD = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n" + b"u" * 20_000_000


def fetch(path, close=b"Connection: close\r\n"):
    return send(b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, close), 81)


SERVERS = {
    path: fetch(f"/{path}".encode())
    for path in (
        "never-answers resets-mid-answer short short-chunked garbage garbage-head huge-head endless-head "
        "endless-interim two-lengths unasked-upgrade"
    ).split()
} | {
    "upload": send(UPLOAD % b"/ok", 81),
    "upload never read": send(UPLOAD % b"/never-reads", 81),
    "upload answered early": send(UPLOAD % b"/early", 81),
    "upload answered early, open": send(UPLOAD % b"/early-stays", 81),
    "upload reset": send(UPLOAD % b"/resets-mid-request", 81),
}


def poisoned():
    """What a server sends too much is never another request's answer."""
    told = collections.Counter()
    for number in range(4):
        for path in (b"/two-answers", b"/two-answers-late"):
            told[fetch(path)()["text"]] += 1
            # Before it has come nobody can know of it.
            time.sleep(0.5)
            told["own" if fetch(b"/ok-%d" % number)()["text"] == f"/ok-{number} 0" else "another's"] += 1
    return {"texts": dict(told)}


def closing_at_the_worst_moment():
    told = {}
    for path in ("closes-after", "resets-when-used", "closes-at-once"):
        for method in ("GET", "POST"):
            lines = collections.Counter()
            for number in range(20):
                body = b"Content-Length: 3\r\n\r\nabc" if method == "POST" else b"\r\n"
                target = f"{method} /{path}?{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
                lines[send(target + body, 81)()["line"]] += 1
                time.sleep(0.002 * (number % 5))
            told[f"{method} {path}"] = dict(lines)
    return told


def all_at_once(attacks):
    told = {}

    def one(name):
        try:
            told[name] = attacks[name]()
        except Exception as error:  # What an attack dies of belongs to its result.
            told[name] = {"error": repr(error)}

    threads = [threading.Thread(target=one, args=(name,)) for name in attacks]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return told


def idle(count):
    """Opens connections and says nothing, until told to go."""
    streams = []
    for _ in range(count):
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex((VIP, 80))
        streams.append(stream)
    print("open", flush=True)
    signal.sigwait({signal.SIGTERM})
    print(json.dumps({"opened": len(streams)}))


def bystander():
    """Asks again and again, each time on a connection of its own, until told to go."""
    going = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: going.set())
    told = {"answers": 0, "failures": []}
    while not going.is_set():
        got = send(b"GET /bystander HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 90)()
        if got["line"] == "HTTP/1.1 200 OK" and got["text"] == "/bystander\n":
            told["answers"] += 1
        else:
            told["failures"].append(got)
        if told["answers"] == 1:
            print("begun", flush=True)
        time.sleep(0.02)
    print(json.dumps(told))


def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    match sys.argv[2:]:
        case ["clients"]:
            print(json.dumps(all_at_once(CLIENTS)))
        case ["servers"]:
            told = all_at_once(SERVERS)
            told["poisoned"] = poisoned()
            told["closing"] = closing_at_the_worst_moment()
            print(json.dumps(told))
        case ["idle", count]:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            idle(int(count))
        case ["bystander"]:
            bystander()


main()
