"""Drives a browser that somebody else has started: Chromium by a pipe, Firefox by Marionette."""
import base64, json, os, select, socket, time

MARIONETTE = 2828


class Gone(Exception):
    """The browser does not answer any more."""


class Chromium:
    """The browser reads its descriptor 3 and writes its descriptor 4."""

    arguments = ["--headless=new", "--disable-gpu", "--no-sandbox", "--remote-debugging-pipe"]

    def __init__(self):
        (self.theirs_in, self.ours_out), (self.ours_in, self.theirs_out) = os.pipe(), os.pipe()
        self.buffer, self.number, self.session = b"", 0, None

    def pass_on(self):
        """For the child, before its program starts."""
        a, b = os.dup(self.theirs_in), os.dup(self.theirs_out)
        os.dup2(a, 3), os.dup2(b, 4)
        os.set_inheritable(3, True), os.set_inheritable(4, True)

    def started(self):
        os.close(self.theirs_in), os.close(self.theirs_out)

    def call(self, method, _timeout=30, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        try:
            os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        except OSError as e:
            raise Gone(str(e))
        end = time.monotonic() + _timeout
        while True:
            while b"\0" not in self.buffer:
                if not select.select([self.ours_in], [], [], max(0, end - time.monotonic()))[0]:
                    raise Gone(f"no answer to {method}")
                more = os.read(self.ours_in, 1 << 16)
                if not more:
                    raise Gone("closed")
                self.buffer += more
            line, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self.number:
                return answer.get("result", {})
            if answer.get("method") == "Page.javascriptDialogOpening":
                self.number += 1
                os.write(self.ours_out, json.dumps({"id": self.number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}, "sessionId": self.session}).encode() + b"\0")
                self.number -= 1

    def connect(self):
        self.session = None
        self.call("Security.setIgnoreCertificateErrors", ignore=True)
        self.fresh()

    def fresh(self):
        """A tab of its own, and no other."""
        self.session = None
        old = [t["targetId"] for t in self.call("Target.getTargets").get("targetInfos", []) if t["type"] == "page"]
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        for t in old:
            self.call("Target.closeTarget", targetId=t)
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Security.setIgnoreCertificateErrors", ignore=True)

    def go(self, url):
        self.fresh()
        try:
            self.call("Page.navigate", _timeout=20, url=url)
        except Gone as e:
            if str(e) == "closed":
                raise

    def run(self, expression):
        answer = self.call("Runtime.evaluate", expression=f"JSON.stringify({expression})", returnByValue=True)
        value = answer.get("result", {}).get("value")
        return json.loads(value) if value else None

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png").get("data")
        if data:
            open(path, "wb").write(base64.b64decode(data))


class Firefox:
    arguments = ["--headless", "--marionette"]

    def __init__(self):
        self.number, self.socket, self.buffer = 0, None, b""

    def pass_on(self):
        pass

    def started(self):
        pass

    def connect(self):
        end = time.monotonic() + 60
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", MARIONETTE), 40)
                break
            except OSError:
                if time.monotonic() > end:
                    raise Gone("Marionette does not listen")
                time.sleep(0.2)
        self.receive()
        self.call("WebDriver:NewSession", acceptInsecureCerts=True, pageLoadStrategy="none", unhandledPromptBehavior="accept")
        self.call("WebDriver:SetTimeouts", script=15000, pageLoad=20000)

    def receive(self):
        while b":" not in self.buffer:
            self.more()
        size, self.buffer = self.buffer.split(b":", 1)
        while len(self.buffer) < int(size):
            self.more()
        message, self.buffer = self.buffer[: int(size)], self.buffer[int(size) :]
        return json.loads(message)

    def more(self):
        try:
            data = self.socket.recv(1 << 16)
        except OSError as e:
            raise Gone(str(e))
        if not data:
            raise Gone("closed")
        self.buffer += data

    def call(self, command, **parameters):
        self.number += 1
        body = json.dumps([0, self.number, command, parameters]).encode()
        try:
            self.socket.sendall(str(len(body)).encode() + b":" + body)
        except OSError as e:
            raise Gone(str(e))
        while True:
            _, number, error, result = self.receive()
            if number == self.number:
                return {"error": error} if error else result or {}

    def go(self, url):
        new = self.call("WebDriver:NewWindow", type="tab").get("handle")
        for old in self.call("WebDriver:GetWindowHandles") or []:
            if new and old != new:
                self.call("WebDriver:SwitchToWindow", handle=old)
                self.call("WebDriver:CloseWindow")
        if new:
            self.call("WebDriver:SwitchToWindow", handle=new)
        self.call("WebDriver:Navigate", url=url)

    def run(self, expression):
        # The page's own objects are seen through a wrapper unless they come as text.
        answer = self.call("WebDriver:ExecuteScript", script=f"with (window.wrappedJSObject || window) {{ return JSON.stringify({expression}) }}", args=[], sandbox=None)
        value = answer.get("value")
        return json.loads(value) if isinstance(value, str) else None

    def screenshot(self, path):
        data = self.call("WebDriver:TakeScreenshot", full=False).get("value")
        if data:
            open(path, "wb").write(base64.b64decode(data))
