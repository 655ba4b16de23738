"""A PPTP client that breaks the rules, one way after the other, and says what the gateway made of it.

    misbehave.py SERVER [VICTIM-ADDRESS VICTIM-CALL-ID VICTIM-SERVER]

Control-connection cases (RFC 2637 section 2) have an expectation: the reply or the closing that the RFC asks for. GRE and PPP cases
have none of their own: nothing may come of them, which the caller sees in another client's session. With a victim, GRE is also sent
in its name, with a spoofed source address and its call ID. Ends with "N as expected, N not".
"""
import os
import random
import select
import socket
import struct
import sys
import time

SERVER = sys.argv[1]
# The victim's call lives on the address of the gateway that the victim dialled; elsewhere its call ID is unknown.
VICTIM = (sys.argv[2], int(sys.argv[3]), sys.argv[4]) if len(sys.argv) > 4 else None
MAGIC = 0x1A2B3C4D
CLOSED = "closed"
random.seed(2637)
good = bad = 0


def message(kind, body, length=None, magic=MAGIC, pptp_type=1):
    if length is None:
        length = 12 + len(body)
    return struct.pack("!HHIHH", length, pptp_type, magic, kind, 0) + body


def start(version=0x0100):
    return message(1, struct.pack("!HHIIHH64s64s", version, 0, 3, 3, 1, 1, b"rude", b"misbehave"))


def outgoing_call(call_id=7, bearer=3, framing=3, minimum=2400, maximum=10_000_000):
    return message(7, struct.pack("!HHIIIIHHHH64s64s", call_id, 0, minimum, maximum, bearer, framing, 3, 0, 0, 0, b"", b""))


def echo(identifier=1):
    return message(5, struct.pack("!I", identifier))


def call_clear(call_id):
    return message(12, struct.pack("!HH", call_id, 0))


def set_link_info(call_id):
    return message(15, struct.pack("!HHII", call_id, 0, 0xFFFFFFFF, 0xFFFFFFFF))


class Control:
    """One control connection."""

    def __init__(self, started=True):
        self.socket = socket.create_connection((SERVER, 1723), timeout=5)
        self.buffer = b""
        if started:
            self.send(start())
            reply = self.receive()
            if reply == CLOSED or reply is None or reply[0] != 2 or reply[1][2] != 1:
                raise RuntimeError(f"the start was answered with {reply}")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def receive(self, seconds=5):
        """(kind, body), CLOSED, or None when nothing came."""
        end = time.monotonic() + seconds
        while True:
            if len(self.buffer) >= 12:
                length, _, _, kind, _ = struct.unpack("!HHIHH", self.buffer[:12])
                if len(self.buffer) >= length:
                    body, self.buffer = self.buffer[12:length], self.buffer[length:]
                    return kind, body
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            try:
                data = self.socket.recv(4096)
            except OSError:
                return CLOSED
            if not data:
                return CLOSED
            self.buffer += data

    def wait_closed(self, seconds=12):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.receive(end - time.monotonic())
            if found in (CLOSED, None):
                return found == CLOSED
        return False

    def answers(self):
        """An echo still comes back, whatever else comes first."""
        self.send(echo(0xC0FFEE))
        for _ in range(600):
            found = self.receive(5)
            if found in (CLOSED, None):
                return False
            if found[0] == 6 and found[1][:4] == struct.pack("!I", 0xC0FFEE):
                return True
        return False

    def call(self, call_id=7):
        self.send(outgoing_call(call_id))
        reply = self.receive()
        if reply in (CLOSED, None) or reply[0] != 8 or reply[1][4] != 1:
            raise RuntimeError(f"the call was answered with {reply}")
        return struct.unpack("!H", reply[1][:2])[0]

    def close(self):
        self.socket.close()


def case(text, function, *arguments):
    global good, bad
    try:
        outcome = function(*arguments)
    except (RuntimeError, OSError) as error:
        outcome = f"{type(error).__name__}: {error}"
    if outcome is True:
        good += 1
    else:
        bad += 1
        print(f"NOT as expected: {text}: {outcome}", flush=True)


def closes(data, started=True, seconds=12):
    """The gateway ends the connection (after a Stop-Control-Connection-Request, where the table says so)."""
    connection = Control(started)
    connection.send(data)
    closed = connection.wait_closed(seconds)
    connection.close()
    return closed or "not closed"


def replies(data, kind, check=lambda body: True, started=True):
    connection = Control(started)
    connection.send(data)
    found = connection.receive()
    connection.close()
    if found in (CLOSED, None) or found[0] != kind or not check(found[1]):
        return f"answered with {found}"
    return True


def survives(*parts, started=True, pause=0):
    connection = Control(started)
    for part in parts:
        connection.send(part)
        if pause:
            time.sleep(pause)
    answered = connection.answers()
    connection.close()
    return answered or "the connection did not survive"


def control_cases():
    body = struct.pack("!I", 1)
    case("wrong magic cookie, first message", closes, start().replace(struct.pack("!I", MAGIC), b"\0\0\0\0"), False)
    case("wrong magic cookie", closes, message(5, body, magic=0x1A2B3C4E))
    case("PPTP message type 2", closes, message(5, body, pptp_type=2))
    case("PPTP message type 0", closes, message(5, body, pptp_type=0))
    for length in (0, 1, 11, 12, 15, 17, 221, 4096, 65535):
        case(f"echo with length field {length}", closes, message(5, body, length=length) + b"\0" * 220)
    case("start with the length of an echo", closes, message(1, start()[12:], length=16), False)
    for kind in (0, 16, 17, 255, 65535):
        case(f"control message type {kind}", closes, message(kind, body))
        case(f"control message type {kind} before the start", closes, message(kind, body), False)
    for version in (0, 0x0001, 0x0200, 0xFFFF):
        case(f"protocol version {version:#06x}", replies, start(version), 2, lambda b: b[2] == 5, False)
        case(f"protocol version {version:#06x}, then closed", closes, start(version), False)
    case("a second start", replies, start(), 2, lambda b: b[2] == 3)
    case("echo before the start", replies, echo(), 6, lambda b: b[4] == 2 and b[5] == 1, False)
    case("call before the start", replies, outgoing_call(), 8, lambda b: b[4] == 2 and b[5] == 1, False)
    case("call clear for a call that is not there", survives, call_clear(4711))
    case("set-link-info for a call that is not there", survives, set_link_info(4711))
    case("WAN errors for a call that is not there", survives, message(14, struct.pack("!HH6I", 4711, 0, *[2**32 - 1] * 6)))
    case("disconnect notify from a client", survives, message(13, struct.pack("!HBBHH128s", 9, 1, 0, 0, 0, b"x" * 128)))
    case("a start reply from a client", survives, message(2, struct.pack("!HBBIIHH64s64s", 256, 1, 0, 3, 3, 1, 1, b"", b"")))
    case("a call reply from a client", survives, message(8, struct.pack("!HHBBHIHHI", 1, 2, 1, 0, 0, 64000, 3, 0, 0)))
    case("an incoming-call reply that nobody asked for", survives, message(10, struct.pack("!HHBBHHH", 1, 2, 1, 0, 3, 0, 0)))
    case("incoming call connected from a client", survives, message(11, struct.pack("!HHIHHI", 1, 0, 64000, 3, 0, 3)))
    case("a stop reply that nobody asked for", survives, message(4, struct.pack("!BBH", 1, 0, 0)))
    case("an echo reply that nobody asked for", survives, message(6, struct.pack("!IBBH", 99, 1, 0, 0)))
    case("an incoming call is refused", replies,
         message(9, struct.pack("!HHIIHH64s64s64s", 5, 1, 3, 0, 65535, 65535, b"\xff" * 64, b"", b"")), 10, lambda b: b[4] == 3)
    case("stop", replies, message(3, struct.pack("!BBH", 1, 0, 0)), 4)
    case("stop with an unknown reason", replies, message(3, struct.pack("!BBH", 200, 0, 0)), 4)
    for kind in range(1, 16):
        case(f"type {kind} cut off after its header", closes, message(kind, b""))
        case(f"type {kind} with 220 bytes of noise", lambda k: closes(message(k, random.randbytes(208)) + message(99, b"")), kind)
    case("noise", lambda: closes(random.randbytes(4000), False))
    case("noise after the start", lambda: closes(random.randbytes(4000)))
    case("HTTP", closes, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n" * 10, False)
    case("TLS", closes, bytes.fromhex("16030100f8010000f40303") + random.randbytes(240), False)

    def same_call_twice():
        connection = Control()
        connection.call(7)
        connection.send(outgoing_call(7))
        found = connection.receive()
        connection.close()
        return found not in (CLOSED, None) and found[0] == 8 and found[1][4] == 2 and found[1][5] == 5 or f"answered with {found}"

    case("the same call ID twice", same_call_twice)

    def many_calls():
        connection = Control()
        for number in range(200):
            connection.send(outgoing_call(number))
        results = []
        while len(results) < 200:
            found = connection.receive(3)
            if found in (CLOSED, None):
                break
            if found[0] == 8:
                results.append(found[1][4:6])
        connection.close()
        return any(r[0] != 1 for r in results) or found == CLOSED or f"{len(results)} calls were accepted"

    case("200 calls on one connection: not all are accepted", many_calls)

    def drip(data):
        connection = Control(False)
        for byte in data:
            connection.send(bytes([byte]))
            time.sleep(0.002)
        found = connection.receive()
        connection.close()
        return found not in (CLOSED, None) and found[0] == 2 and found[1][2] == 1 or f"answered with {found}"

    case("a start, byte by byte, is good", drip, start())
    case("400 echoes in one segment", survives, b"".join(echo(n) for n in range(400)))

    def clear_and_close():
        connection = Control()
        connection.call(3)
        connection.send(call_clear(3) + message(3, struct.pack("!BBH", 1, 0, 0)))
        return connection.wait_closed() or "not closed"

    case("clear and stop in one segment", clear_and_close)

    def reset_in_the_middle():
        connection = Control()
        connection.call(3)
        connection.send(outgoing_call(4)[:50])
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return True

    case("reset in the middle of a message", reset_in_the_middle)

    def nobody_reads():
        connection = Control()
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.socket.setblocking(False)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                connection.socket.send(b"".join(echo(n) for n in range(100)))
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        connection.close()
        return True

    case("echoes without end, and the replies are not read", nobody_reads)

    def half_open():
        sockets = []
        for _ in range(300):
            try:
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((SERVER, 1723))
                sockets.append(s)
            except OSError:
                break
        time.sleep(1)
        refused = 0
        for s in sockets:
            try:
                if s.recv(1) == b"":
                    refused += 1
            except BlockingIOError:
                pass
            except OSError:
                refused += 1
        for s in sockets:
            s.close()
        return refused > 0 or "300 connections that never said a word were all held"

    case("300 connections that say nothing: not all are held", half_open)
    time.sleep(3)

    def slow_start():
        connection = Control(False)
        begun = time.monotonic()
        for byte in start()[:-1]:
            connection.send(bytes([byte]))
            if connection.receive(0.5) == CLOSED:
                return True
            if time.monotonic() - begun > 40:
                return "held for 40 s without a start"
        return "a start was never complete, and yet it was not closed"

    case("a start that never ends is closed at its deadline", slow_start)


def gre(call_id, payload=None, sequence=None, acknowledgment=None, flags=None, version=1, protocol=0x880B, length=None):
    bits = 0x20 if flags is None else flags
    tail = b""
    if sequence is not None:
        if flags is None:
            bits |= 0x10
        tail += struct.pack("!I", sequence)
    low = version
    if acknowledgment is not None:
        low |= 0x80
        tail += struct.pack("!I", acknowledgment)
    if length is None:
        length = len(payload or b"")
    return struct.pack("!BBHHH", bits, low, protocol, length & 0xFFFF, call_id) + tail + (payload or b"")


def odd_gre(call_id):
    """Packets that are no, or not quite, enhanced GRE."""
    full = gre(call_id, b"\xff\x03\xc0\x21\x01\x01\x00\x04", 1, 0)
    for end in range(len(full)):
        yield full[:end]
    for flags in range(256):
        yield gre(call_id, b"\xff\x03\xc0\x21\x05\x01\x00\x04", 5, flags=flags)
    for version in (0, 2, 3, 7, 0x79):
        yield gre(call_id, b"\xff\x03\xc0\x21\x05\x01\x00\x04", 5, version=version)
    for protocol in (0, 0x0800, 0x880A, 0x880C, 0xFFFF):
        yield gre(call_id, b"\xff\x03\xc0\x21\x05\x01\x00\x04", 5, protocol=protocol)
    for length in (0, 1, 9, 100, 1500, 65535):
        yield gre(call_id, b"\xff\x03\xc0\x21\x05\x01\x00\x04", 6, length=length)
    for sequence in (0, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 1000, 100000):
        yield gre(call_id, b"\xff\x03\xc0\x21\x05\x01\x00\x04", sequence)
        yield gre(call_id, b"\x00\xfd\x90\x00" + random.randbytes(60), sequence)
        yield gre(call_id, None, None, sequence)
    yield gre(call_id, b"", 7)
    yield gre(call_id, random.randbytes(1400), 8)


def odd_ppp():
    """PPP frames that should not be."""
    for size in range(8):
        yield random.randbytes(size)
    for protocol in (0x0000, 0x0001, 0x0021, 0x0057, 0x00FD, 0x002B, 0x8021, 0x8057, 0x80FD, 0xC021, 0xC023, 0xC025, 0xC223, 0xC227, 0xFFFF, 0xCF00):
        head = b"\xff\x03" + struct.pack("!H", protocol)
        yield head
        for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255):
            for length in (0, 3, 4, 5, 8, 200, 65535):
                yield head + struct.pack("!BBH", code, 1, length) + b"\x01\x00\x02\x01\x03\xff"
        yield head + random.randbytes(1400)
    for option in range(256):  # an option of each kind, and lengths that lie
        for length in (0, 1, 2, 3, 6, 255):
            yield b"\xff\x03\xc0\x21" + struct.pack("!BBHBB", 1, option, 10, option, length) + b"\0\0\0\0"
    for size in (0, 1, 48, 49, 50, 51, 200):  # CHAP responses of the wrong size
        yield b"\xff\x03\xc2\x23" + struct.pack("!BBHB", 2, 1, 5 + size, size) + b"\xAA" * size
    inner = bytes.fromhex("4500001c000000004001000001020304" "0a630001" "0800f7ff00000000")
    yield b"\x21" + inner
    yield b"\xff\x03\x00\x21" + inner
    for bits in range(16):
        yield b"\x00\xfd" + bytes([bits << 4, 0]) + random.randbytes(64)


def gre_cases():
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)

    def send(packet):
        try:
            raw.sendto(packet, (SERVER, 0))
        except OSError:
            pass

    connection = Control()
    call_id = connection.call(7)
    for target in (call_id, 0, 65535, random.randrange(65536)):
        for packet in odd_gre(target):
            send(packet)
        time.sleep(0.2)
    sequence = 0
    for number, frame in enumerate(odd_ppp()):
        send(gre(call_id, frame, sequence))
        sequence += 1
        if number % 50 == 0:
            time.sleep(0.05)
    connection.close()
    print(f"{sequence} odd PPP frames on a call of our own", flush=True)

    connection = Control()
    call_id = connection.call(8)
    for sequence in range(3000):  # a flood of one kind: LCP echoes, and requests that renegotiate
        send(gre(call_id, b"\xff\x03\xc0\x21" + struct.pack("!BBHI", random.choice((1, 9)), sequence & 255, 8, 0), sequence))
    connection.close()
    for _ in range(2000):
        send(gre(random.randrange(65536), random.randbytes(random.randrange(200)), random.randrange(2**32), random.randrange(2**32)))
    for _ in range(2000):
        send(random.randbytes(random.randrange(1, 100)))

    if not VICTIM:
        return
    address, call_id, server = VICTIM
    for packet in odd_gre(call_id):  # with our own address: counted and dropped
        send(packet)
        raw.sendto(packet, (server, 0))
    spoof = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send_as_victim(packet):
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 47, 0, socket.inet_aton(address), socket.inet_aton(server))
        spoof.sendto(head + packet, (server, 0))

    count = 0
    for packet in odd_gre(call_id):
        if os.environ.get("SPOOF_CONTROL") or b"\xc0\x21" not in packet:
            send_as_victim(packet)
            count += 1
            time.sleep(0.002)
    for _ in range(500):  # encrypted in appearance, anywhere in the sequence
        send_as_victim(gre(call_id, b"\x00\xfd" + struct.pack("!H", 0x9000 | random.randrange(4096)) + random.randbytes(80), random.randrange(2**32)))
        time.sleep(0.002)
    for _ in range(500):  # and clear data where encryption is required
        send_as_victim(gre(call_id, b"\xff\x03\x00\x21" + bytes.fromhex("4500001c00000000400100000a6301140a630001") + bytes(8), random.randrange(2**32)))
        time.sleep(0.002)
    print(f"{count + 1000} packets in the name of {address}, call {call_id}", flush=True)


control_cases()
gre_cases()
print(f"{good} as expected, {bad} not")
sys.exit(1 if bad else 0)
