#!/usr/bin/env python3
"""The world outside, for leaks.py: name server, web server and traps in a network namespace of their own.

Everything that arrives is written to a log, a JSON object a line. Names under outside.test are what a window for the
outside may ask for; names under fromsite.test are known to the pages of a site alone, so nothing may ever ask for one.
"""
import http.server, json, os, socket, ssl, struct, sys, threading

OUTSIDE, FROM_SITE = "203.0.113.80", "203.0.113.99"
folder, pages = sys.argv[1], sys.argv[2]
log_lock, log_file = threading.Lock(), open(os.path.join(folder, "events.jsonl"), "a", buffering=1)


def log(**what):
    with log_lock:
        log_file.write(json.dumps(what) + "\n")


def dns():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.77.0.53", 53))
    while True:
        q, who = s.recvfrom(1500)
        try:
            at, labels = 12, []
            while q[at]:
                labels.append(q[at + 1 : at + 1 + q[at]].decode().lower())
                at += q[at] + 1
            kind = struct.unpack(">H", q[at + 1 : at + 3])[0]
            name, question = ".".join(labels), q[12 : at + 5]
        except (IndexError, UnicodeDecodeError, struct.error):
            continue
        log(dns=name, kind=kind, source=who[0])
        ip = OUTSIDE if name.endswith("outside.test") else FROM_SITE if name.endswith("fromsite.test") else None
        answers = b""
        if ip and kind == 1:
            answers = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(ip)
        code = 0 if ip else 3
        s.sendto(q[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, bool(answers), 0, 0) + question + answers, who)


def trap_udp(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    while True:
        data, who = s.recvfrom(2000)
        log(udp=port, source=who[0], first=data[:8].hex())


def trap_tcp(port):
    s = socket.create_server(("0.0.0.0", port))
    while True:
        c, who = s.accept()
        log(tcp=port, to=c.getsockname()[0])
        c.close()


class Web(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *a, **k):
        super().__init__(*a, directory=pages, **k)

    def setup(self):
        super().setup()
        log(connection=self.connection.getsockname()[1], to=self.connection.getsockname()[0])

    def do_GET(self):
        log(http=self.headers.get("Host", ""), path=self.path)
        super().do_GET()

    do_POST = do_GET

    def end_headers(self):
        self.send_header("Alt-Svc", 'h3=":443"; ma=86400, h2="alt.outside.test:443"')
        self.send_header("Report-To", '{"group":"g","max_age":1000,"endpoints":[{"url":"https://report.outside.test/r"}]}')
        self.send_header("NEL", '{"report_to":"g","max_age":1000,"success_fraction":1}')
        self.send_header("Link", "<https://early.outside.test>; rel=preconnect")
        super().end_headers()

    def log_message(self, *a):
        pass


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, address):
        pass


def web(port):
    server = Quiet(("0.0.0.0", port), Web)
    if port == 443:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


for work, more in [(dns, ()), (web, (80,)), (web, (443,)), (trap_tcp, (3478,)), (trap_tcp, (8443,))] + [
    (trap_udp, (p,)) for p in (3478, 443, 5353, 1900)
]:
    threading.Thread(target=work, args=more, daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
