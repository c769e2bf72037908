"""Joins network namespaces by lines with delay, rate, queue and loss: what `tc netem` does, where the kernel has none.

Each namespace gets a TUN device, and this process carries packets between them. A packet waits in the queue of its sender's
line, takes its time there, and arrives after both lines' delays. Commands come as JSON lines on standard input:
{"loss": {"r1": 0.01}} changes losses (of packets into and out of that namespace), {"delay": {"r1": 0.1}} its line's delay, and
{"stats": true} answers with each line's queue since the last time. The process removes what it made when its input ends.
"""

import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Line:
    """One namespace with its device and the line its packets leave by."""

    def __init__(self, name, number, spec, mtu):
        self.name, self.delay, self.rate, self.queue = name, spec["delay"], spec["rate"], spec["queue"]
        self.loss, self.free_at, self.most, self.sum, self.count, self.dropped = 0.0, 0.0, 0, 0, 0, 0
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = f"{name[:8]}-tun"
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        inside = ["ip", "netns", "exec", name]
        for command in (
            ["ip", "link", "set", device, "netns", name],
            [*inside, "ip", "link", "set", "lo", "up"],
            [*inside, "ip", "link", "set", device, "mtu", str(mtu), "txqueuelen", "10000", "up"],
            [*inside, "ip", "address", "add", f"10.77.0.{number}/24", "dev", device],
        ):
            subprocess.run(command, check=True)

    def leave(self, now, size):
        """When a packet has left the line; None when the queue is full."""
        waiting = max(0.0, self.free_at - now) * self.rate
        self.most, self.sum, self.count = max(self.most, waiting), self.sum + waiting, self.count + 1
        if waiting > self.queue:
            self.dropped += 1
            return None
        self.free_at = max(self.free_at, now) + size / self.rate
        return self.free_at

    def stats(self):
        found = {"mean": self.sum / max(1, self.count), "most": self.most, "dropped": self.dropped}
        self.most, self.sum, self.count, self.dropped = 0, 0, 0, 0
        return found


def run(config):
    lines = {n: Line(name, n, spec, config["mtu"]) for n, (name, spec) in enumerate(config["lines"].items(), 1)}
    by_fd = {line.fd: line for line in lines.values()}
    by_name = {line.name: line for line in lines.values()}
    dice, heap, number = random.Random(config.get("seed", 1)), [], 0
    print("ready", flush=True)
    watched = [*by_fd, 0]
    while True:
        wait = max(0.0, heap[0][0] - time.monotonic()) if heap else None
        readable, _, _ = select.select(watched, [], [], wait)
        for fd in readable:
            if fd == 0:
                command = os.read(0, 65536)
                if not command:
                    return
                command = json.loads(command)
                for name, loss in command.get("loss", {}).items():
                    by_name[name].loss = loss
                for name, delay in command.get("delay", {}).items():
                    by_name[name].delay = delay
                if "stats" in command:
                    print(json.dumps({name: line.stats() for name, line in by_name.items()}), flush=True)
                continue
            line = by_fd[fd]
            for _ in range(64):
                try:
                    packet = os.read(fd, 65536)
                except BlockingIOError:
                    break
                to = lines.get(packet[19]) if packet[0] >> 4 == 4 else None
                now = time.monotonic()
                left = to and line.leave(now, len(packet))
                if not left or dice.random() < line.loss or dice.random() < to.loss:
                    continue
                number += 1
                heapq.heappush(heap, (left + line.delay + to.delay, number, to.fd, packet))
        now = time.monotonic()
        while heap and heap[0][0] <= now:
            _, _, fd, packet = heapq.heappop(heap)
            try:
                os.write(fd, packet)
            except OSError:
                pass


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
