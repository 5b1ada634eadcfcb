"""Channels against the real thing where it runs here: an Alertmanager, an SMTP server, a syslog listener, Apprise."""

import hashlib
import hmac
import json
import os
import shutil
import socketserver
import subprocess
import threading
import time
import urllib.request
from base64 import b64encode

import pytest
import yaml
from aiosmtpd.controller import Controller
from documented import falco_event
from notifying import Receiver, alert, stop, until
from ports import free_port

pytestmark = pytest.mark.integration


def configured(tmp_path, channels, **more):
    path = tmp_path / "notify.yaml"
    path.write_text(yaml.safe_dump({"channels": channels, "allow": ["127.0.0.0/8"], **more}), encoding="utf-8")
    return path


@pytest.fixture
def alertmanager(local, tmp_path):
    """The URL of a running Alertmanager."""
    debian = "prometheus-alertmanager"  # what Debian calls command and package
    program = shutil.which("alertmanager") or local("processes").ensure_command(debian, {"apt-get": debian})
    (tmp_path / "am.yaml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n", encoding="utf-8")
    port = free_port()
    with (tmp_path / "am.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={tmp_path}/am.yaml",
                f"--storage.path={tmp_path}/am",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )

    def up():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1).status == 200
        except OSError:
            return False

    until(up)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


class Mailbox:
    """An SMTP handler that keeps what came; it refuses the first `refuse` messages for now."""

    def __init__(self, refuse=0):
        self.mails, self.refuse = [], refuse

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 - aiosmtpd's name
        if self.refuse:
            self.refuse -= 1
            return "451 later"
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"


class Lines(socketserver.ThreadingTCPServer):
    """A syslog listener (RFC 6587, octets counted)."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        self.messages = []
        super().__init__(("127.0.0.1", 0), Frames)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Frames(socketserver.StreamRequestHandler):
    def handle(self):
        while size := self._size():
            self.server.messages.append(self.rfile.read(size).decode())

    def _size(self):
        digits = b""
        while (c := self.rfile.read(1)) and c != b" ":
            digits += c
        return int(digits) if digits else 0


def test_alertmanager_mail_syslog_file_and_apprise_are_told(notifier, produce, alertmanager, tmp_path):
    mailbox, lines, receiver = Mailbox(refuse=1), Lines(), Receiver()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    path = configured(
        tmp_path,
        {
            "am": {"type": "alertmanager", "url": alertmanager},
            "mail": {
                "type": "mail",
                "host": "127.0.0.1",
                "port": smtp.port,
                "security": "none",
                "sender": "Leadsman <leadsman@example.com>",
                "to": ["soc@example.com", "oncall@example.com"],
            },
            "log": {"type": "syslog", "host": "127.0.0.1", "port": lines.server_address[1], "transport": "tcp"},
            "file": {"type": "file", "path": str(tmp_path / "alerts.jsonl")},
            "falco": {"type": "falcosidekick", "url": receiver.url.replace("hook", "falco")},
            "tail": {"type": "apprise", "url": f"json://127.0.0.1:{receiver.port}/hook"},
        },
    )
    try:
        produce(alert("a1"), alert("a2", level="high"))
        process = notifier(notify_config=path)
        until(lambda: len(mailbox.mails) == 2)
        until(lambda: len(lines.messages) == 2)
        until(lambda: len(receiver.requests) == 4)
        file = tmp_path / "alerts.jsonl"  # each channel reads for itself
        until(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
        at = f"{alertmanager}/api/v2/alerts"
        known = until(lambda: len(got := json.load(urllib.request.urlopen(at, timeout=5))) == 2 and got)  # noqa: S310
        stop(process)
    finally:
        smtp.stop()
        lines.shutdown()
        lines.server_close()
        receiver.close()
    assert {(a["labels"]["alert_id"], a["labels"]["severity"]) for a in known} == {("a1", "critical"), ("a2", "high")}
    assert {a["labels"]["alertname"] for a in known} == {"privileged-container"}
    assert all(a["status"]["state"] == "active" for a in known)
    sender, to, text = mailbox.mails[0]
    assert (sender, to) == ("leadsman@example.com", ["soc@example.com", "oncall@example.com"])
    assert "Message-ID: <" in text
    assert "multipart/alternative" in text
    assert "Why it matters" in text
    assert all(m.startswith("<10") and 'leadsman@32473 key="a' in m for m in lines.messages)
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert {a["id"] for a in kept} == {"a1", "a2"}
    posted = {path: [body for _, _, body, at in receiver.requests if at == path] for path in ("/hook", "/falco")}
    assert {body["title"].split(":")[0] for body in posted["/hook"]} == {"CRITICAL", "HIGH"}
    events = [falco_event(json.dumps(body).encode()) for body in posted["/falco"]]
    assert {(e["output_fields"]["leadsman.alert_id"], e["priority"]) for e in events} == {
        ("a1", "critical"),
        ("a2", "error"),
    }
    assert {e["rule"] for e in events} == {"privileged-container"}


class Verifier:
    """A receiver of signed webhooks written from docs/notifications.md alone."""

    def __init__(self, key, clock=time.time):
        self.key, self.clock = key, clock

    def accepts(self, headers, body):
        headers = {name.lower(): value for name, value in headers.items()}
        sent, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        if abs(self.clock() - int(stamp)) > 300:
            return False
        mac = hmac.new(self.key, f"{sent}.{stamp}.".encode() + body, hashlib.sha256).digest()
        return hmac.compare_digest(headers.get("webhook-signature", ""), "v1," + b64encode(mac).decode())


def test_a_signed_webhook_is_accepted_and_a_replay_after_five_minutes_is_not(notifier, receiver, produce):
    produce(alert("a1"))
    process = notifier(webhook_url=receiver.url, webhook_hmac_key="planted-key")
    until(lambda: receiver.requests)
    stop(process)
    _, headers, body, _ = receiver.requests[0]
    raw = json.dumps(body, separators=(",", ":")).encode()
    assert Verifier(b"planted-key").accepts(headers, raw)
    assert not Verifier(b"planted-key", lambda: time.time() + 301).accepts(headers, raw)
    assert not Verifier(b"other-key").accepts(headers, raw)
    assert not Verifier(b"planted-key").accepts(headers, raw + b" ")
    assert not Verifier(b"planted-key").accepts({**headers, "webhook-id": "x"}, raw)
    assert "planted-key" not in process.err.read_text()


def test_routes_change_while_it_runs_and_channels_by_starting_anew(notifier, receiver, produce, tmp_path):
    hook = {"type": "webhook", "url": receiver.url, "limit_per_minute": 0}
    path = configured(tmp_path, {"hook": hook}, routes=[{"match": {"level": "high"}, "channels": ["hook"]}])
    process = notifier(notify_config=path, notify_reload_s=0.2)
    produce(alert("a1", level="low"), alert("a2", level="high"))
    until(lambda: receiver.ids() == ["a2"])
    configured(tmp_path, {"hook": hook}, routes=[{"match": {"level": "low"}, "channels": ["hook"]}])
    until(lambda: "notify.yaml read anew" in process.err.read_text())
    produce(alert("a3", level="low"))
    until(lambda: receiver.ids() == ["a2", "a3"])
    path.write_text("channels: {", encoding="utf-8")
    until(lambda: "refused, what was in force stays" in process.err.read_text())
    other = Receiver()
    try:
        configured(tmp_path, {"hook": {**hook, "url": other.url}})
        until(lambda: "channels changed: starting anew" in process.err.read_text())
        produce(alert("a4", level="low"))
        until(lambda: other.ids() == ["a4"])
    finally:
        other.close()
    stop(process)


def test_a_silence_and_quiet_hours(notifier, receiver, produce, tmp_path):
    hook = {"type": "webhook", "url": receiver.url}
    now = time.time()
    hours = [time.strftime("%H:%M", time.gmtime(now + d)) for d in (-3600, 3600)]
    path = configured(
        tmp_path,
        {"hook": hook},
        silences=[{"match": {"rule": "silent"}, "owner": "a@example.com", "until": "2126-01-01T00:00:00Z"}],
        quiet_hours=[{"channels": ["hook"], "from": hours[0], "to": hours[1], "below": "critical"}],
    )
    silent = alert("a1")
    silent["rule"]["name"] = "silent"
    produce(silent, alert("a2", level="low"), alert("a3"))
    process = notifier(notify_config=path, http_port=0)
    until(lambda: receiver.ids() == ["a3"])
    time.sleep(2)
    assert receiver.ids() == ["a3"]
    os.kill(process.pid, 15)
    assert process.wait(60) == 0
