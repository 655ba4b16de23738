"""Moves a known stream of bytes over TCP and compares its SHA-256 at both ends.

    transfer.py serve ADDRESS PORT
    transfer.py get ADDRESS PORT BYTES [RATE]   the server sends, we check
    transfer.py put ADDRESS PORT BYTES [RATE]   we send, the server says what arrived

RATE is in bytes for each second; without it as many as go.
"""
import hashlib
import random
import socket
import socketserver
import sys
import time

CHUNK = 64 * 1024


def stream(count, rate=0):
    source = random.Random(count)
    due = time.monotonic()
    while count:
        part = source.randbytes(min(CHUNK, count))
        count -= len(part)
        yield part
        if rate:
            due += len(part) / rate
            time.sleep(max(0, due - time.monotonic()))


def expected(count):
    digest = hashlib.sha256()
    for part in stream(count):
        digest.update(part)
    return digest.hexdigest()


def receive(connection, count):
    digest = hashlib.sha256()
    while count:
        part = connection.recv(min(CHUNK, count))
        if not part:
            raise ConnectionError(f"{count} bytes are missing")
        digest.update(part)
        count -= len(part)
    return digest.hexdigest()


def line(connection):
    text = b""
    while not text.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("closed in the middle of a line")
        text += byte
    return text.decode().split()


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(120)
        verb, count, rate = line(self.request)
        if verb == "get":
            for part in stream(int(count), int(rate)):
                self.request.sendall(part)
            line(self.request)
        else:
            self.request.sendall((receive(self.request, int(count)) + "\n").encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    verb, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if verb == "serve":
        Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        Server((address, port), Handler).serve_forever()
    count = int(sys.argv[4])
    rate = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    begun = time.monotonic()
    with socket.create_connection((address, port), timeout=120) as connection:
        connection.sendall(f"{verb} {count} {rate}\n".encode())
        if verb == "get":
            found = receive(connection, count)
            connection.sendall(b"done\n")
        else:
            for part in stream(count, rate):
                connection.sendall(part)
            found = line(connection)[0]
    seconds = time.monotonic() - begun
    print(f"{verb} {count} bytes in {seconds:.1f} s, {count * 8 / seconds / 1e6:.1f} Mbit/s, sha256 {found}")
    if found != expected(count):
        sys.exit(f"the SHA-256 should be {expected(count)}")


main()
