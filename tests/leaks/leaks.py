#!/usr/bin/env python3
"""Browses with `umbel browse` where every packet is seen, and fails when one goes anywhere but to a relay.

    tests/leaks/leaks.py --umbel target/release/umbel [--browser chromium --browser firefox] [--seconds 3600]

Needs Linux, Python 3, iproute2, util-linux, openssl, and the browsers. Without root it takes a user namespace. Two network
namespaces are made and vanish with the run: the user's, with a client and the browser, where everything is captured, and
the world's, with relays, an exit, a name server, a web server, and traps for what should never arrive. The same pages are
then opened in a browser that is only pointed at the proxy, where no script of a site may run.
"""
import argparse, collections, json, math, os, re, shutil, signal, struct, subprocess, sys, tempfile, time, wave

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
RELAYS = 6
ME = "UMBEL_LEAKS_INSIDE"
parser = argparse.ArgumentParser()
parser.add_argument("--umbel", required=True)
parser.add_argument("--browser", action="append", choices=["chromium", "firefox"])
parser.add_argument("--seconds", type=int, default=0, help="browse again and again for so long")
parser.add_argument("--short", action="store_true", help="the pages that matter most, once")
parser.add_argument("--pictures", help="a folder for screenshots")
options = parser.parse_args()

if ME not in os.environ:
    line = ["unshare", "--net", "--mount"]
    if os.getuid() != 0:
        line += ["--user", "--map-root-user"]
    os.environ[ME] = "1"
    os.execvp(line[0], line + [sys.executable, "-B"] + sys.argv)

import capture, drive  # noqa: E402

# What a site's page tries that must work: one more with a video.
works_least = 16
base = tempfile.mkdtemp(prefix="umbel-leaks-")
umbel = os.path.abspath(options.umbel)
started, failures = [], []


def sh(line):
    subprocess.run(line, shell=True, check=True)


def spawn(line, name, **more):
    out = open(os.path.join(base, name + ".log"), "ab")
    # None of them outlives this process, however it ends.
    line = ["setpriv", "--pdeathsig", "KILL", "--", *line]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
    started.append(process)
    return process


def until(what, seconds, done):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds} s for {what}; logs are in {base}")
        time.sleep(0.05)


def wrong(text):
    failures.append(text)
    print("WRONG", text, flush=True)


def tone(path):
    with wave.open(path, "wb") as w:
        w.setnchannels(1), w.setsampwidth(2), w.setframerate(8000)
        w.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 3))) for i in range(8000 * 8)))


def clip(path):
    """Twenty seconds of moving picture, in pieces that a browser fetches as it plays. False without `ffmpeg`."""
    if not shutil.which("ffmpeg"):
        print("LEFT OUT: the video, for ffmpeg is not installed", flush=True)
        return False
    subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=24", "-t", "20", "-c:v", "libvpx", "-b:v", "1M", "-g", "24", path],
                   check=True)
    return True


def network():
    """Both namespaces, and the world with its relays. Gives the ports of the relays and the invite."""
    # Name look-ups of this namespace go to the world, where they are seen.
    resolv, hosts = os.path.join(base, "resolv.conf"), os.path.join(base, "hosts")
    open(resolv, "w").write("nameserver 10.77.0.53\n")
    open(hosts, "w").write("127.0.0.1 localhost\n::1 localhost\n")
    for ours, theirs in [(resolv, "/etc/resolv.conf"), (hosts, "/etc/hosts")]:
        sh(f"mount --bind {ours} $(readlink -f {theirs})")
    world = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "sleep", "infinity"])
    started.append(world)
    own = os.readlink("/proc/self/ns/net")
    until("the second namespace", 10, lambda: os.readlink(f"/proc/{world.pid}/ns/net") != own)
    enter = ["nsenter", "-t", str(world.pid), "-n"]
    w = " ".join(enter)
    for line in [
        "ip link set lo up",
        f"ip link add u0 type veth peer name w0 netns {world.pid}",
        "ip addr add 10.77.0.1/24 dev u0; ip -6 addr add fd77::1/64 dev u0 nodad || true; ip link set u0 up",
        f"{w} ip link set lo up; {w} ip addr add 10.77.0.2/24 dev w0; {w} ip addr add 10.77.0.53/24 dev w0; {w} ip link set w0 up",
        f"{w} ip -6 addr add fd77::2/64 dev w0 nodad || true",
        f"{w} ip addr add 203.0.113.80/32 dev lo; {w} ip addr add 203.0.113.99/32 dev lo",
        "ip route add default via 10.77.0.2; ip -6 route add default via fd77::2 || true",
    ]:
        sh(line)
    sh(f"openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=outside.test -addext 'subjectAltName=DNS:*.outside.test' "
       f"-keyout {base}/key.pem -out {base}/cert.pem 2>/dev/null")
    outside = os.path.join(base, "outside")
    shutil.copytree(os.path.join(HERE, "outside"), outside)
    tone(os.path.join(outside, "tone.wav"))
    open(os.path.join(outside, "download.bin"), "wb").write(os.urandom(300000))
    shutil.copy(os.path.join(HERE, "site", "picture.svg"), os.path.join(outside, "favicon.svg"))
    shutil.copy(os.path.join(HERE, "site", "worker.js"), outside)
    script = open(os.path.join(HERE, "site", "hostile.js")).read()
    script = script.replace("fromsite.test", "outside.test").replace("203.0.113.99", "203.0.113.80")
    script = script.replace("getElementById('form')", "createElement('form')").replace("getElementById('ping')", "getElementById('d')")
    open(os.path.join(outside, "outside.js"), "w").write(script)
    spawn(enter + [sys.executable, "-B", os.path.join(HERE, "world.py"), base, outside], "world")
    invite = os.path.join(base, "invite")
    for n in range(RELAYS):
        line = [umbel, "relay", "--dir", f"{base}/r{n}", "--profile", "testing", "--listen", f"10.77.0.2:{7001 + n}", "--ready-file", f"{base}/r{n}.ready"]
        line += ["--write-invite", invite] if n == 0 else ["--invite", invite]
        line += ["--exit"] if n == RELAYS - 1 else []
        spawn(enter + line, f"relay{n}")
        until("an invite", 60, lambda: os.path.exists(invite))
    for n in range(RELAYS):
        until("a relay", 90, lambda: os.path.exists(f"{base}/r{n}.ready"))
    return list(range(7001, 7001 + RELAYS)), invite


def world_log():
    path = os.path.join(base, "events.jsonl")
    return [json.loads(line) for line in open(path)] if os.path.exists(path) else []


def from_sites(since):
    """What reached the world that only a page of a site can have asked for."""
    found = collections.Counter()
    for e in world_log()[since:]:
        text = json.dumps(e)
        if "fromsite" in text or "203.0.113.99" in text:
            found[e.get("dns") or e.get("http") or text] += 1
    return found


def living_in(profile):
    """The processes of a browser with this profile, and their command lines."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline").read()
            state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if profile in line and state != "Z":
            found.append((int(pid), line))
    return found


class Window:
    """A browser that `umbel browse` started."""

    def __init__(self, seen, kind, url, *more):
        self.kind, self.driver = kind, drive.Chromium() if kind == "chromium" else drive.Firefox()
        if kind == "firefox":
            seen.allowed.add(("127.0.0.1", drive.MARIONETTE))
        line = [umbel, "--dir", f"{base}/client", "browse", "--browser", kind, *more, url, "--", *self.driver.arguments]
        home = os.path.join(base, "home")
        os.makedirs(os.path.join(home, "Downloads"), exist_ok=True)
        env = {**os.environ, "HOME": home, "TMPDIR": base, "XDG_RUNTIME_DIR": "", "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        before = self.profiles()
        self.process = spawn(line, f"browse-{kind}", env=env, preexec_fn=self.driver.pass_on, close_fds=False)
        self.driver.started()
        self.driver.connect()
        self.profile = (self.profiles() - before).pop()

    @staticmethod
    def profiles():
        return {n for n in os.listdir(base) if n.startswith("umbel-browse-")}

    def browsers(self):
        return living_in(self.profile)

    def main(self):
        for pid, line in self.browsers():
            if "--type=" not in line and "-contentproc" not in line and "crashpad" not in line and "browse\0" not in line:
                return pid
        raise SystemExit("the browser has no main process")

    def ended(self, how, code):
        """It and all it left must be gone."""
        try:
            got = self.process.wait(20)
        except subprocess.TimeoutExpired:
            return wrong(f"{self.kind}: umbel browse still runs after {how}")
        if code is not None and got != code:
            wrong(f"{self.kind}: umbel browse ended with {got} and not {code} after {how}")
        end = time.monotonic() + 10
        while self.browsers() and time.monotonic() < end:
            time.sleep(0.1)
        if self.browsers():
            wrong(f"{self.kind}: the browser outlives {how}")
        if self.profile in self.profiles() and how != "SIGKILL of umbel browse":
            wrong(f"{self.kind}: the profile is still there after {how}")


def judge(seen, what, since):
    """Whether the time since then was clean."""
    time.sleep(0.3)
    for key, n in sorted(seen.leaks.items()):
        if key[0] == what:
            wrong(f"{what}: {n} packets by {key[1]}: {key[2]} to {key[3]} port {key[4]}")
    for name, n in from_sites(since).items():
        wrong(f"{what}: a page of a site reached {name} outside ({n} times)")


def picture(driver, name):
    if options.pictures:
        os.makedirs(options.pictures, exist_ok=True)
        driver.screenshot(os.path.join(options.pictures, name + ".png"))


def sites(seen, kind, site, quick):
    """A window for sites: they work, and nothing gets out."""
    what, since = f"{kind}, sites", len(world_log())
    seen.begin(what)
    window = Window(seen, kind, site)
    d = window.driver
    d.go(site)
    works = None
    end = time.monotonic() + 20
    while time.monotonic() < end:
        works = d.run("window.results || null")
        if works and len(works) >= works_least:
            break
        time.sleep(0.2)
    picture(d, f"{kind}-works")
    for name, result in (works or {"": "no script ran"}).items():
        if result != "works":
            wrong(f"{what}: {name}: {result}")
    if works and len(works) < works_least:
        wrong(f"{what}: only {sorted(works)} gave a result")
    d.go(site + "hostile.html")
    time.sleep(6)
    results = d.run("window.results || null") or {}
    picture(d, f"{kind}-hostile")
    time.sleep(3)
    if len(results) < 40:
        wrong(f"{what}: the hostile page tried only {len(results)} things: {results}")
    pages = [f"navigate-{n}.html" for n in range(1, 11)] + ["refresh-top.html", "hostile.svg", "hostile.xhtml", "hostile.xml", "hostile.pdf"]
    for page in pages[:3] + pages[10:11] if quick else pages:
        d.go(site + page)
        time.sleep(1.2)
    # Addresses typed into the window.
    for url in ["http://typed.fromsite.test/", "https://typed.fromsite.test/", "http://127.0.0.1:8099/"]:
        d.go(url)
        time.sleep(0.7)
        picture(d, f"{kind}-typed-{url.split(':')[0]}")
    return window, what, since, results


def outside(seen, kind, site, quick):
    """A window for hosts outside: it reaches them through the exit, and sites come without scripts."""
    what, since = f"{kind}, outside", len(world_log())
    seen.begin(what)
    window = Window(seen, kind, "https://web.outside.test/")
    d = window.driver
    d.go("https://web.outside.test/")
    time.sleep(6)
    results = d.run("window.results || null") or {}
    picture(d, f"{kind}-outside")
    time.sleep(3)
    if len(results) < 40:
        wrong(f"{what}: the page tried only {len(results)} things: {results}")
    if not any(e.get("http") == "web.outside.test" for e in world_log()[since:]):
        wrong(f"{what}: the page outside was not reached")
    for url in ["https://web.outside.test/download.bin", "http://plain.outside.test/second.html", "https://web.outside.test/"][: 1 if quick else 3]:
        d.go(url)
        time.sleep(1.5)
    if not quick:
        for url in {"chromium": ["chrome://extensions", "chrome://settings", "chrome://newtab", "chrome://version"], "firefox": ["about:addons", "about:preferences", "about:newtab", "about:networking"]}[kind]:
            d.go(url)
            time.sleep(1.5)
    d.go(site + "hostile.html")
    time.sleep(3)
    if d.run("document.getElementById('state').textContent") != "no script has run":
        wrong(f"{what}: a site's script ran in a window for the outside")
    picture(d, f"{kind}-outside-hostile")
    return window, what, since, results


def crash(seen, window, how):
    """The window's end in one of several ways; the page that keeps trying is open."""
    if how == "SIGTERM to umbel browse":
        window.process.send_signal(signal.SIGTERM)
        return window.ended(how, 0)
    if how == "SIGKILL of umbel browse":
        window.process.kill()
        return window.ended(how, None)
    os.kill(window.main(), signal.SIGKILL)
    return window.ended(how, 1)


def plain(seen, kind, site, socks):
    """A browser that is only pointed at the proxy: no script of a site runs, nothing of its pages gets out."""
    what, since = f"{kind}, pointed at the proxy", len(world_log())
    # A browser's own services may do as they like here; what a page of a site may do is seen in the world, and by UDP.
    seen.begin(what)
    profile = os.path.join(base, f"plain-{kind}")
    os.makedirs(profile, exist_ok=True)
    driver = drive.Chromium() if kind == "chromium" else drive.Firefox()
    host, port = socks.split(":")
    seen.allowed.add((host, int(port)))
    env = {**os.environ, "HOME": profile}
    if kind == "chromium":
        line = ["chromium", *driver.arguments, f"--user-data-dir={profile}", f"--proxy-server=socks5://{socks}"]
    else:
        prefs = {"network.proxy.type": 1, "network.proxy.socks": host, "network.proxy.socks_port": int(port), "network.proxy.socks_remote_dns": True, "remote.prefs.recommended": False}
        open(os.path.join(profile, "user.js"), "w").write("".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in prefs.items()))
        line = [shutil.which("firefox-esr") or "firefox", *driver.arguments, "--no-remote", "--profile", profile]
    process = spawn(line, f"plain-{kind}", env=env, preexec_fn=driver.pass_on, close_fds=False, start_new_session=True)
    driver.started()
    driver.connect()
    for page in ["hostile.html", "navigate-1.html", "refresh-top.html", "hostile.svg", "hostile.xhtml", "hostile.xml", "hostile.pdf"]:
        driver.go(site + page)
        time.sleep(3 if page == "hostile.html" else 1.2)
        if page == "hostile.html":
            if driver.run("document.getElementById('state').textContent") != "no script has run":
                wrong(f"{what}: a site's script ran")
            if "umbel browse" not in re.sub(r"\s|\\u00a0", " ", driver.run("document.body.innerText") or ""):
                wrong(f"{what}: the page does not say how to get its scripts")
            picture(driver, f"{kind}-plain-hostile")
    # A child that outlives it would go on into the next window.
    end = time.monotonic() + 20
    while left := living_in(profile):
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.1)
        if time.monotonic() > end:
            sys.exit(f"{what}: processes {left} cannot be ended")
    for name, n in from_sites(since).items():
        wrong(f"{what}: a page of a site reached {name} outside ({n} times)")
    for key, n in sorted(seen.leaks.items()):
        if key[0] == what and (key[2] == "UDP" and key[4] not in (53,) or key[3] in ("203.0.113.99", "192.168.1.1", "127.0.0.1")):
            wrong(f"{what}: {n} packets by {key[1]}: {key[2]} to {key[3]} port {key[4]}")


def main():
    relays, invite = network()
    seen = capture.Capture(relays)
    site_folder = os.path.join(base, "site")
    shutil.copytree(os.path.join(HERE, "site"), site_folder)
    tone(os.path.join(site_folder, "tone.wav"))
    global works_least
    if clip(os.path.join(site_folder, "clip.webm")):
        works_least += 1
    else:
        front = os.path.join(site_folder, "index.html")
        with open(front) as f:
            page = f.read()
        with open(front, "w") as f:
            f.write(re.sub(r"<video.*?</video>", "", page))
    fonts = [os.path.join(r, f) for r, _, fs in os.walk("/usr/share/fonts") for f in fs if f.endswith(".ttf")]
    if fonts:
        shutil.copy(fonts[0], os.path.join(site_folder, "own.ttf"))
    socks = "127.0.0.1:6250"
    client = spawn([umbel, "client", "--dir", f"{base}/client", "--invite", invite, "--socks", socks, "--ready-file", f"{base}/client.ready"], "client")
    seen.daemons.add(client.pid)
    until("the client", 90, lambda: os.path.exists(f"{base}/client.ready"))
    put = subprocess.run([umbel, "--dir", f"{base}/client", "--json", "put", site_folder], capture_output=True, text=True)
    site = json.loads(put.stdout)["url"]
    begun, rounds, table = time.monotonic(), 0, []
    hows = ["crash of the browser", "SIGTERM to umbel browse", "SIGKILL of umbel browse"]
    while True:
        for kind in options.browser or ["chromium", "firefox"]:
            for work in (sites, outside):
                at, links, proxied = time.monotonic(), seen.links, seen.proxied
                window, what, since, results = work(seen, kind, site, options.short)
                how = hows[(rounds + (work is outside)) % len(hows)]
                window.driver.go((site + "hostile.html") if work is sites else "https://web.outside.test/")
                time.sleep(1.5)
                crash(seen, window, how)
                time.sleep(1)
                judge(seen, what, since)
                leaks = sum(n for k, n in seen.leaks.items() if k[0] == what)
                table.append((what, how, len(results), proxied and seen.proxied - proxied or seen.proxied, seen.links - links, leaks, time.monotonic() - at))
                print(f"{what}; ended by {how}: {table[-1][2]} attempts by script, {table[-1][3]} packets to the proxy, {table[-1][4]} to relays, {leaks} elsewhere", flush=True)
            if rounds == 0:
                plain(seen, kind, site, socks)
                print(f"{kind}, pointed at the proxy: done", flush=True)
        rounds += 1
        if time.monotonic() - begun >= options.seconds or failures:
            break
    seen.stop()
    print(f"\n{'window':22} {'windows':>8} {'attempts':>9} {'to the proxy':>13} {'to relays':>10} {'elsewhere':>10} {'seconds':>8}")
    for what in dict.fromkeys(row[0] for row in table):
        rows = [r for r in table if r[0] == what]
        print(f"{what:22} {len(rows):8} {sum(r[2] for r in rows):9} {sum(r[3] for r in rows):13} {sum(r[4] for r in rows):10} {sum(r[5] for r in rows):10} {sum(r[6] for r in rows):8.0f}")
    print(f"{seen.packets} packets seen, {seen.dropped} missed, in {time.monotonic() - begun:.0f} s")
    if seen.dropped:
        wrong("the capture missed packets")
    if seen.links == 0 or seen.proxied == 0:
        wrong("the capture saw nothing: it cannot have seen a leak")


signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
try:
    main()
finally:
    for process in started:
        process.kill()
    if not failures:
        shutil.rmtree(base, ignore_errors=True)
sys.exit(f"{len(failures)} things are wrong; logs are in {base}" if failures else 0)
