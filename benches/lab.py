"""What compare.py measures: C tor's private network, Umbel's, and the web server behind the last relay of both.

Both networks have the same topology: client, three relays that every circuit uses, all of them processes of their own on
loopback. C tor needs a fourth process besides, its directory authority, which carries nothing and is not counted.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds, check):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within {seconds} s")


class Process:
    """One process, killed with its starter, with its output in a file."""

    def __init__(self, name, log, command):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            command = ["setpriv", "--pdeathsig", "KILL", "--"] + command
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def cpu(self):
        """User and system seconds of all its threads, ended ones included."""
        with open(f"/proc/{self.child.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss(self):
        """Bytes of it that lie in memory."""
        with open(f"/proc/{self.child.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Network:
    """A client and three relays; `socks` is the client's proxy."""

    def __init__(self):
        self.others, self.relays, self.client, self.socks = [], [], None, None

    def cpu(self):
        """CPU seconds so far of the client and of the relays."""
        return self.client.cpu(), sum(r.cpu() for r in self.relays)

    def stop(self):
        for p in [self.client, *self.relays, *self.others]:
            if p:
                p.stop()


COMMON = """
DataDirectory {d}
TestingTorNetwork 1
Address 127.0.0.1
SocksPort {socks}
Log notice file {d}/log
RunAsDaemon 0
AssumeReachable 1
ShutdownWaitLength 0
EnforceDistinctSubnets 0
ClientDNSRejectInternalAddresses 0
ClientRejectInternalAddresses 0
ExitPolicyRejectPrivate 0
PathBiasCircThreshold 0
"""
RELAY = """
ORPort 127.0.0.1:{port}
Nickname {nick}
ServerDNSAllowBrokenConfig 1
ContactInfo bench
"""
AUTHORITY = """
DirPort 127.0.0.1:{port}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
V3AuthVotingInterval 20
V3AuthVoteDelay 4
V3AuthDistDelay 4
TestingV3AuthInitialVotingInterval 20
TestingV3AuthInitialVoteDelay 4
TestingV3AuthInitialDistDelay 4
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingMinExitFlagThreshold 0
V3AuthNIntervalsValid 2
ConsensusParams cc_alg=2 cgo_enabled=1
"""
EXIT = "ExitRelay 1\nExitPolicy accept *:*\n"
NO_EXIT = "ExitPolicy reject *:*\n"


class Tor(Network):
    """C tor as Debian packages it, with one path: the client names first, middle and last relay."""

    name = "C tor"

    def __init__(self, tor, home):
        super().__init__()
        self.tor, self.home = tor, home
        line = subprocess.run([tor, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = re.search(r"[\d.]+\d", line).group(0)
        started = time.monotonic()
        authority, dir_line = self.authority()
        self.others.append(self.start("authority", authority + dir_line))
        prints = []
        for n in range(3):
            common = self.common(f"relay{n}", 0) + RELAY.format(port=free_port(), nick=f"relay{n}")
            common += EXIT if n == 2 else NO_EXIT
            prints.append(self.fingerprint(f"relay{n}", common))
            self.relays.append(self.start(f"relay{n}", common + dir_line))
        port, self.control = free_port(), free_port()
        self.socks = f"127.0.0.1:{port}"
        path = "EntryNodes {}\nMiddleNodes {}\nExitNodes {}\nStrictNodes 1\n".format(*prints)
        control = f"ControlPort 127.0.0.1:{self.control}\nCookieAuthentication 0\n"
        self.path = prints
        self.client = self.start("client", self.common("client", self.socks) + control + path + dir_line)
        log = f"{home}/client/log"
        wait_for("C tor's private network", 240, lambda: os.path.exists(log) and "Bootstrapped 100%" in open(log).read())
        self.started = time.monotonic() - started

    def common(self, name, socks):
        d = f"{self.home}/{name}"
        os.makedirs(d, mode=0o700)
        return COMMON.format(d=d, socks=socks)

    def start(self, name, config):
        d = f"{self.home}/{name}"
        with open(f"{d}/torrc", "w") as f:
            f.write(config)
        return Process(name, f"{d}/out", [self.tor, "-f", f"{d}/torrc", "--quiet"])

    def fingerprint(self, name, config, extra=""):
        """Makes the relay's keys and says whose they are."""
        d = f"{self.home}/{name}"
        with open(f"{d}/torrc.keys", "w") as f:
            f.write(config + extra)
        command = [self.tor, "-f", f"{d}/torrc.keys", "--list-fingerprint", "--quiet", "--hush"]
        command += [] if extra else ["--DirAuthority", f"none v3ident={'F' * 40} orport=1 127.0.0.1:1 {'F' * 40}"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return out.strip().split(None, 1)[1].replace(" ", "")

    def authority(self):
        or_port, dir_port = free_port(), free_port()
        config = self.common("authority", 0) + RELAY.format(port=or_port, nick="authority") + NO_EXIT
        keys = f"{self.home}/authority/keys"
        os.makedirs(keys, mode=0o700)
        files = [x for n, o in [("identity_key", "-i"), ("signing_key", "-s"), ("certificate", "-c")]
                 for x in (o, f"{keys}/authority_{n}")]
        subprocess.run(["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", *files, "-m", "12",
                        "-a", f"127.0.0.1:{dir_port}"], input="x\n", text=True, check=True, capture_output=True)
        ident = re.search(r"^fingerprint (\w+)", open(f"{keys}/authority_certificate").read(), re.M).group(1)
        fake = f"DirAuthority authority v3ident={'F' * 40} orport={or_port} 127.0.0.1:{dir_port} {'F' * 40}\n"
        own = self.fingerprint("authority", config, fake)
        line = f"DirAuthority authority orport={or_port} v3ident={ident} 127.0.0.1:{dir_port} {own}\n"
        return config + AUTHORITY.format(port=dir_port), line

    def ask(self, *lines):
        """Sends lines to the client's control port and gives back everything up to the last answer."""
        with socket.create_connection(("127.0.0.1", self.control)) as s:
            f = s.makefile("rw", newline="\r\n")
            f.write("AUTHENTICATE\r\n" + "".join(f"{line}\r\n" for line in lines) + "QUIT\r\n")
            f.flush()
            return f.read()

    def hops(self):
        """Hops of the circuits that carry streams."""
        built = dict(re.findall(r"^(?:250.circuit-status=)?(\d+) BUILT (\S+)", self.ask("GETINFO circuit-status"), re.M))
        used = re.findall(r"(?:^|=)\d+ SUCCEEDED (\d+) ", self.ask("GETINFO stream-status"), re.M)
        return [len(built[c].split(",")) for c in used if c in built]


class Umbel(Network):
    """Umbel with a founder, a second relay and an exit. With three relays each path holds all of them."""

    name = "Umbel"

    def __init__(self, umbel, home, relays=3, shards=None):
        super().__init__()
        self.umbel, self.home = umbel, home
        os.makedirs(home, exist_ok=True)
        self.version = subprocess.run([umbel, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        started = time.monotonic()
        invite = f"{home}/net.invite"
        for n in range(relays):
            network = ["--invite", invite] if n else ["--profile", "testing", "--write-invite", invite]
            exit_ = ["--exit"] if n == 2 else []
            options = ["--shards", str(shards)] if shards else []
            self.relays.append(self.start("relay", f"relay{n}", ["--listen", "127.0.0.1:0", *network, *exit_, *options]))
            wait_for("the invite", 30, lambda: os.path.exists(invite))
        for n in range(relays):
            self.ready(f"relay{n}")
        wait_for("all relays in the directory", 60, lambda: self.status("relay0")["directory"]["relays"] == relays)
        self.client = self.start("client", "client", ["--invite", invite, "--socks", "127.0.0.1:0"])
        self.socks = self.ready("client")["socks"]
        self.started = time.monotonic() - started
        self.invite = invite

    def start(self, role, name, options):
        ready = ["--dir", f"{self.home}/{name}", "--ready-file", f"{self.home}/{name}.ready"]
        return Process(name, f"{self.home}/{name}.log", [self.umbel, role, *options, *ready])

    def ready(self, name):
        path = f"{self.home}/{name}.ready"
        wait_for(f"{name} of Umbel", 60, lambda: os.path.exists(path))
        with open(path) as f:
            return json.load(f)

    def run(self, *arguments):
        command = [self.umbel, *arguments, "--dir", f"{self.home}/client", "--json"]
        out = subprocess.run(command, capture_output=True, text=True)
        if out.returncode:
            raise SystemExit(f"umbel {arguments[0]}: {out.stdout}{out.stderr}")
        return json.loads(out.stdout)

    def status(self, name="client"):
        command = [self.umbel, "status", "--dir", f"{self.home}/{name}", "--json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def hops(self):
        """Hops of the circuits that carry streams, by the streams' receipts."""
        status = self.status()
        named = {c["id"]: c for c in status["circuits"]}
        streams = [s for s in status["streams"] if named.get(s["circuit"], {}).get("isolation", "").startswith("exit")]
        return [s["hops"] for s in streams]


class Web:
    """A web server in its own process: `/<n>` gives n bytes of one file, by sendfile."""

    def __init__(self, home, size):
        os.makedirs(home, exist_ok=True)
        self.file = f"{home}/data"
        with open(self.file, "wb") as f:
            for _ in range(0, size, 1 << 20):
                f.write(os.urandom(1 << 20))
            f.truncate(size)
        self.port = free_port()
        self.process = Process("web", f"{home}/web.log", [sys.executable, __file__, str(self.port), self.file])
        wait_for("the web server", 10, lambda: not socket.socket().connect_ex(("127.0.0.1", self.port)))

    def url(self, size):
        return f"http://127.0.0.1:{self.port}/{size}"

    def stop(self):
        self.process.stop()


def serve(port, path):
    """The web server's process."""
    data = os.open(path, os.O_RDONLY)

    def answer(conn):
        with conn:
            head = b""
            while b"\r\n\r\n" not in head:
                part = conn.recv(65536)
                if not part:
                    return
                head += part
            size, done = int(head.split(b" ", 2)[1][1:]), 0
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
            while done < size:
                done += os.sendfile(conn.fileno(), data, done, size - done)

    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        while True:
            conn, _ = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(conn,), daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
