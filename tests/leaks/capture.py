"""Every packet of this network namespace, judged as it passes."""
import collections, os, select, socket, struct, threading

ETH_P_ALL, OUTGOING = 3, 4
RELAYS, GATEWAY = "10.77.0.2", "10.77.0.2"


def listeners(pid):
    """The TCP addresses on 127/8 that a process listens on."""
    inodes = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    except OSError:
        return set()
    found = set()
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            f = line.split()
            if f[3] == "0A" and f[9] in inodes:
                ip, port = f[1].split(":")
                found.add((socket.inet_ntoa(bytes.fromhex(ip)[::-1]), int(port, 16)))
    return found


class Capture:
    """`allowed`: further endpoints on loopback; `relays`: the ports of relays."""

    def __init__(self, relays):
        self.relays, self.allowed, self.daemons = set(relays), set(), set()
        self.leaks, self.links, self.proxied, self.packets = collections.Counter(), 0, 0, 0
        self.doors, self.lock, self.phase = set(), threading.Lock(), "start"
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        except OSError:
            pass
        self.stop_pipe = os.pipe()
        self.dropped, self.drained = 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            ready, _, _ = select.select([self.socket, self.stop_pipe[0]], [], [], 0)
            if not ready:
                self.drained.set()
                select.select([self.socket, self.stop_pipe[0]], [], [], 0.2)
                continue
            if self.stop_pipe[0] in ready:
                return
            frame, where = self.socket.recvfrom(256)
            self.packets += 1
            self.judge(frame, where[0], where[2])

    def judge(self, frame, interface, direction):
        if direction != OUTGOING:
            return
        kind = struct.unpack(">H", frame[12:14])[0]
        if kind == 0x0806:
            target = socket.inet_ntoa(frame[38:42])
            return None if target == GATEWAY else self.leak(interface, "ARP", target, 0)
        if kind == 0x86DD:
            protocol, target, at = frame[20], socket.inet_ntop(socket.AF_INET6, frame[38:54]), 54
            source = socket.inet_ntop(socket.AF_INET6, frame[22:38])
            if protocol in (0, 58):  # the kernel's own: neighbours, routers, multicast listeners
                if protocol == 0 or frame[at] in range(130, 144):
                    return None
        elif kind == 0x0800:
            protocol, target, at = frame[23], socket.inet_ntoa(frame[30:34]), 14 + (frame[14] & 15) * 4
            source = socket.inet_ntoa(frame[26:30])
        else:
            return self.leak(interface, f"ethertype {kind:04x}", "", 0)
        if protocol not in (6, 17):
            return self.leak(interface, f"protocol {protocol}", target, 0)
        sport, dport = struct.unpack(">HH", frame[at : at + 4])
        if protocol == 6:
            if interface != "lo":
                if target == RELAYS and dport in self.relays:
                    self.links += 1
                    return None
            elif self.is_proxy((target, dport)) or self.is_proxy((source, sport)):
                self.proxied += 1
                return None
            elif frame[at + 13] & 4:
                return None  # a reset: the answer of a port where nobody listens to what was counted already
        return self.leak(interface, "TCP" if protocol == 6 else "UDP", target, dport)

    def is_proxy(self, endpoint):
        if endpoint in self.allowed or endpoint in self.doors:
            return True
        for pid in self.daemons:
            self.doors |= listeners(pid)
        return endpoint in self.doors

    def leak(self, *what):
        with self.lock:
            self.leaks[(self.phase, *what)] += 1

    def begin(self, phase):
        """All that was sent before counts to the phase before."""
        self.drained.clear()
        self.drained.wait()
        self.phase = phase

    def stop(self):
        packets, drops = struct.unpack("II", self.socket.getsockopt(263, 6, 8))
        self.dropped += drops
        os.write(self.stop_pipe[1], b"x")
        self.thread.join()
