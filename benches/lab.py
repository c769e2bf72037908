"""What compare.py measures: C tor's private network, Umbel's, and the web server after the last relay of both.

Both networks have the same topology: client, three relays that every circuit uses, all of them processes of their own on
loopback. C tor needs a fourth process besides, its directory authority, which carries nothing and is not counted.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time

# The scheduler's own account of a process: /proc counts ticks of 10 ms, a twentieth of what one stream of 200 MB costs a client.
CPU_CLOCK = 2
LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py")


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

    @classmethod
    def of(cls, name, child):
        """A child that was started otherwise."""
        process = cls.__new__(cls)
        process.name, process.log, process.child = name, None, child
        return process

    def cpu(self):
        """User and system seconds of all its threads, ended ones included, to the nanosecond."""
        return time.clock_gettime(~self.child.pid << 3 | CPU_CLOCK)

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

    def relays_cpu(self):
        return sum(r.cpu() for r in self.relays)

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
        self.prints, self.dir_line = prints, dir_line
        self.socks = f"127.0.0.1:{free_port()}"
        self.client = self.start_client("client", self.socks)
        self.started = time.monotonic() - started

    def start_client(self, name, socks, options=""):
        config = self.common(name, socks) + self.dir_line + options
        config += f"ControlSocket {self.home}/{name}/control\nCookieAuthentication 0\n"
        config += "EntryNodes {}\nMiddleNodes {}\nExitNodes {}\nStrictNodes 1\n".format(*self.prints)
        client, log = self.start(name, config), f"{self.home}/{name}/log"
        wait_for("C tor's private network", 240, lambda: os.path.exists(log) and "Bootstrapped 100%" in open(log).read())
        return client

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

    def control(self, name):
        """A control connection of a client. Over TCP, delayed acknowledgements would set its pace."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{self.home}/{name}/control")
            # Two objects: one that is written to forgets what it has read ahead.
            reader, writer = s.makefile("r", newline="\r\n"), s.makefile("w", newline="\r\n")
            writer.write("AUTHENTICATE\r\n")
            return reader, writer

    def ask(self, *lines):
        """Sends lines to the client's control port and gives back everything up to the last answer."""
        reader, writer = self.control("client")
        with reader, writer:
            writer.write("".join(f"{line}\r\n" for line in lines) + "QUIT\r\n")
            writer.flush()
            return reader.read()

    def hops(self):
        """Hops of the circuits that carry streams."""
        built = dict(re.findall(r"^(?:250.circuit-status=)?(\d+) BUILT (\S+)", self.ask("GETINFO circuit-status"), re.M))
        used = re.findall(r"(?:^|=)\d+ SUCCEEDED (\d+) ", self.ask("GETINFO stream-status"), re.M)
        return [len(built[c].split(",")) for c in used if c in built]


    def crowd(self):
        return TorCrowd(self)


class TorCrowd:
    """A second client that holds idle circuits along the path, as its control port is told to."""

    AT_ONCE = 32

    def __init__(self, net):
        self.path = ",".join("$" + p for p in net.prints)
        # Build times under this load teach it nothing.
        self.process = net.start_client("crowd", 0, "LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 60\n")
        net.others.append(self.process)
        self.reader, self.writer = net.control("crowd")
        self.writer.write("SETCONF __DisablePredictedCircuits=1\r\nSETEVENTS CIRC\r\n")
        self.writer.flush()
        self.open, self.failed, self.pending = 0, 0, set()

    def grow(self, target):
        """Opens circuits until this many are open; returns the seconds it took."""
        start = time.monotonic()
        asked = 0
        while self.open < target:
            while asked + len(self.pending) < self.AT_ONCE and self.open + asked + len(self.pending) < target:
                self.writer.write(f"EXTENDCIRCUIT 0 {self.path}\r\n")
                asked += 1
            self.writer.flush()
            line = self.reader.readline()
            if found := re.match(r"250 EXTENDED (\d+)", line):
                asked -= 1
                self.pending.add(found.group(1))
            elif (found := re.match(r"650 CIRC (\d+) (BUILT|FAILED|CLOSED)", line)) and found.group(1) in self.pending:
                self.pending.discard(found.group(1))
                self.open += found.group(2) == "BUILT"
                self.failed += found.group(2) != "BUILT"
            elif line.startswith("5"):
                raise SystemExit(f"C tor's control port: {line}")
        return time.monotonic() - start

    def stop(self):
        self.process.stop()


class Umbel(Network):
    """Umbel with a founder, a second relay and an exit. With three relays each path holds all of them."""

    name = "Umbel"

    def __init__(self, umbel, home, relays=3, shards=None, name=name):
        super().__init__()
        self.umbel, self.home, self.name = umbel, home, name
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

    def crowd(self):
        return UmbelCrowd(self)

    def more_clients(self, count):
        """The proxies of this many further clients."""
        names = [f"client{n}" for n in range(1, count + 1)]
        self.others += [self.start("client", n, ["--invite", self.invite, "--socks", "127.0.0.1:0"]) for n in names]
        return [self.ready(n)["socks"] for n in names]

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


class UmbelCrowd:
    """The example `circuits`: the client's core without a proxy, which holds idle circuits along the path."""

    def __init__(self, net):
        path = [net.ready(f"relay{n}")["id"] for n in range(3)]
        program = os.path.join(os.path.dirname(net.umbel), "examples/circuits")
        peers = f"{net.home}/relay0/peers"
        wait_for("the relays' records", 30, lambda: os.path.exists(peers) and len(open(peers).readlines()) >= 3)
        command = [program, net.invite, peers, *path]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = Process.of("crowd", self.child)
        net.others.append(self.process)
        self.failed = 0

    def grow(self, target):
        self.child.stdin.write(f"{target}\n")
        self.child.stdin.flush()
        said = json.loads(self.child.stdout.readline())
        self.failed = said["failed"]
        return said["ms"] / 1000

    def stop(self):
        self.process.stop()


class Web:
    """A web server in its own process: `/<n>` gives n bytes of one file (over and over), by sendfile."""

    def __init__(self, home, size):
        os.makedirs(home, exist_ok=True)
        self.file = f"{home}/data"
        with open(self.file, "wb") as f:
            for _ in range(0, size, 1 << 20):
                f.write(os.urandom(1 << 20))
            f.truncate(size)
        self.port = free_port()
        self.process = Process("web", f"{home}/web.log", [sys.executable, LOAD, str(self.port), self.file])
        wait_for("the web server", 10, lambda: not socket.socket().connect_ex(("127.0.0.1", self.port)))

    def url(self, size):
        return f"http://127.0.0.1:{self.port}/{size}"

    def stop(self):
        self.process.stop()
