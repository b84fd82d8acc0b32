#!/usr/bin/python3
"""An NFSv4 client with one connection, by libnfs: nfs_session.py URL-OF-AN-EXPORT.

Writes a file until SIGTERM comes, and says `written` after each part. Then it reads all of it back; its last line is
JSON with the server's name and the number of bytes. A connection that breaks is a failure.
"""

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from ctypes import POINTER, byref, c_char_p, c_int, c_uint64, c_void_p

# Longer writes do not fit the buffer of libnfs 4.0 for requests of NFSv4.
PIECE = 3_000
PIECES_OF_A_PART = 20
# Between pieces: the file stays small for as long as a test lasts.
PAUSE = 0.001
MOST = 256 << 20

libnfs = ctypes.CDLL("libnfs.so.13")
for name, result, arguments in [
    ("nfs_init_context", c_void_p, []),
    ("nfs_get_error", c_char_p, [c_void_p]),
    ("nfs_set_autoreconnect", None, [c_void_p, c_int]),
    ("nfs_parse_url_dir", POINTER(c_char_p), [c_void_p, c_char_p]),
    ("nfs_mount", c_int, [c_void_p, c_char_p, c_char_p]),
    ("nfs_open", c_int, [c_void_p, c_char_p, c_int, POINTER(c_void_p)]),
    ("nfs_pwrite", c_int, [c_void_p, c_void_p, c_uint64, c_uint64, c_char_p]),
    ("nfs_pread", c_int, [c_void_p, c_void_p, c_uint64, c_uint64, c_char_p]),
    ("nfs_close", c_int, [c_void_p, c_void_p]),
]:
    function = getattr(libnfs, name)
    function.restype, function.argtypes = result, arguments

context = libnfs.nfs_init_context()


def checked(result):
    if result < 0:
        sys.exit(libnfs.nfs_get_error(context).decode())
    return result


def opened(path, flags):
    handle = c_void_p()
    checked(libnfs.nfs_open(context, path, flags, byref(handle)))
    return handle


def read(path):
    handle, at, buffer = opened(path, os.O_RDONLY), 0, ctypes.create_string_buffer(1 << 16)
    while length := checked(libnfs.nfs_pread(context, handle, at, len(buffer), buffer)):
        at += length
        yield buffer.raw[:length]
    checked(libnfs.nfs_close(context, handle))


# It stays pending: libnfs takes a poll(2) that a signal interrupts for a broken connection.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
url = libnfs.nfs_parse_url_dir(context, sys.argv[1].encode())
if not url:
    sys.exit(libnfs.nfs_get_error(context).decode())
libnfs.nfs_set_autoreconnect(context, 0)
checked(libnfs.nfs_mount(context, url[0], url[1]))
server = b"".join(read(b"/name")).decode()
path = b"/session-%d" % os.getpid()
handle, written, sent = opened(path, os.O_CREAT | os.O_RDWR), 0, hashlib.sha256()
while signal.SIGTERM not in signal.sigpending() and written < MOST:
    for _ in range(PIECES_OF_A_PART):
        piece = os.urandom(PIECE)
        if checked(libnfs.nfs_pwrite(context, handle, written, PIECE, piece)) != PIECE:
            sys.exit("a piece was written in part")
        written += PIECE
        sent.update(piece)
        time.sleep(PAUSE)
    print("written", written)
checked(libnfs.nfs_close(context, handle))
back = hashlib.sha256()
for piece in read(path):
    back.update(piece)
if back.digest() != sent.digest():
    sys.exit("what was read back is not what was written")
print(json.dumps({"server": server, "bytes": written}))
