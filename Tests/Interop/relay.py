"""A bad network path for UDP: loses some datagrams and lets others be overtaken.

    relay.py LISTEN-ADDRESS PORT TO-ADDRESS PORT LOSS REORDER SEED

LOSS and REORDER are percentages of each direction's datagrams. The last one who sent to us gets the answers. On SIGTERM it says what it
did: how many it carried at once, lost, and carried late.
"""
import random
import select
import signal
import socket
import sys
import time

DELAY = 0.004  # seconds by which a datagram that is to be overtaken is late


def main():
    here, there = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))
    loss, reorder = float(sys.argv[5]) / 100, float(sys.argv[6]) / 100
    chance = random.Random(int(sys.argv[7]))
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        end.setblocking(False)
    near.bind(here)
    far.connect(there)
    client = None
    counts = {"carried": 0, "lost": 0, "late": 0}
    late = []  # (when, datagram, back)

    def send(datagram, back):
        try:
            if not back:
                far.send(datagram)
            elif client:
                near.sendto(datagram, client)
        except OSError:
            pass  # a full buffer or nobody there: one more loss

    def end(*_):
        print(*counts.values(), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        patience = max(0, late[0][0] - time.monotonic()) if late else None
        for source in select.select([near, far], [], [], patience)[0]:
            for _ in range(64):
                try:
                    datagram, sender = source.recvfrom(65535)
                except OSError:
                    break
                back = source is far
                if not back:
                    client = sender
                draw = chance.random()
                if draw < loss:
                    counts["lost"] += 1
                elif draw < loss + reorder:
                    counts["late"] += 1
                    late.append((time.monotonic() + DELAY, datagram, back))
                else:
                    counts["carried"] += 1
                    send(datagram, back)
        while late and late[0][0] <= time.monotonic():
            _, datagram, back = late.pop(0)
            send(datagram, back)


main()
