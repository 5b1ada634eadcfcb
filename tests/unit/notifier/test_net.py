"""Where channels may connect to: addresses in every spelling, names that resolve one way and then another."""

import ipaddress
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from leadsman_common.schemas import schemas_dir
from leadsman_common.settings import SettingError
from leadsman_notifier.channel import Refused, Unavailable
from leadsman_notifier.channels import apprise
from leadsman_notifier.http import HttpTarget, check_url
from leadsman_notifier.message import single
from leadsman_notifier.net import Net, NotAllowed
from leadsman_notifier.story import tell

EXAMPLE = schemas_dir() / "examples" / "alerts" / "privileged-container.json"

METADATA = [
    "169.254.169.254", "2852039166", "0251.0376.0251.0376", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "169.254.43518",
    "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::169.254.169.254]", "[2002:a9fe:a9fe::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[fe80::a9fe:a9fe]",
    "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "017700000001", "0x7f.1", "0", "0.0.0.0", "[::1]", "[::]", "10.0.0.1",  # noqa: S104
    "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "198.18.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255", "[ff02::1]",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "[2606:2800:220:1:248:1893:25c8:1946]", "[64:ff9b::5db8:d822]", "hooks.example"]


@pytest.mark.parametrize("host", [*METADATA, *PRIVATE])
def test_refused_in_every_spelling(host):
    with pytest.raises(SettingError, match="url"):
        check_url(f"http://{host}/x", Net())


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_are_let_through(host):
    check_url(f"https://{host}/x", Net())


@pytest.mark.parametrize("host", METADATA)
def test_infrastructure_may_be_private_but_no_metadata_service(host):
    inside = Net().as_internal()
    check_url("http://10.0.0.1/x", inside)
    check_url("http://127.0.0.1/x", inside)
    with pytest.raises(SettingError, match="url"):
        check_url(f"http://{host}/x", inside)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example@127.0.0.1/",
        "https://user:pw@hooks.example/",
        "gopher://x/",
        "file:///etc/passwd",
        "ftp://x/",
        "dict://x/",
        "//x/",
        "http:///x",
        "http://[::1",
        "javascript:alert(1)",
        "http://\u2460.example:0/",
    ],
)
def test_other_tricks(url):
    with pytest.raises(SettingError):
        check_url(url, Net())


@pytest.mark.parametrize(
    ("allow", "host", "good"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("::1", "[::1]", True),
        ("127.0.0.0/8", "[::1]", False),
        ("127.0.0.0/8", "2130706433", True),
        ("169.254.169.254", "169.254.169.254", True),  # it is named
    ],
)
def test_what_is_allowed_is_let_through(allow, host, good):
    net = Net([allow])
    assert (net.literal(host.strip("[]")) == "") is good


@pytest.mark.parametrize("allow", ["", "http://x", "10.0.0.0/40", "a b", "user@x", "300.1.1.1"])
def test_what_cannot_be_allowed(allow):
    with pytest.raises(SettingError, match="allow"):
        Net([allow])


class Resolver:
    """getaddrinfo that answers a name with the next of a list, and all else as it is."""

    def __init__(self, monkeypatch, **names):
        self.names, self.asked = {k.replace("_", "."): v for k, v in names.items()}, []
        self.real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host, port, *args, **named):
        self.asked.append(host)
        if host not in self.names:
            return self.real(host, port, *args, **named)
        answers = self.names[host]
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        at = (address, port or 0) if family == socket.AF_INET else (address, port or 0, 0, 0)
        return [(family, socket.SOCK_STREAM, 6, "", at)]


@pytest.fixture
def server():
    """(port, hosts that were asked for); some of its paths lead elsewhere."""
    seen = []
    redirects = {
        "/away": "http://127.0.0.1/",
        "/loop": "/loop",
        "/ping": "/pong",
        "/pong": "/ping",
        "/metadata": "http://169.254.169.254/latest/meta-data/",
        "/decimal": "http://2852039166/",
        "/file": "file:///etc/passwd",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(self.headers["Host"])
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, where = (302, redirects[self.path]) if self.path in redirects else (200, "")
            self.send_response(status)
            if where:
                self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # what a redirected POST becomes

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    redirects["/neighbour"] = f"http://127.0.0.2:{made.server_port}/x"
    redirects["/inside"] = f"http://127.0.0.1:{made.server_port}/x"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made.server_port, seen
    made.shutdown()
    made.server_close()


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch, server):
    port, seen = server
    resolver = Resolver(monkeypatch, hooks_example=["127.0.0.1", "169.254.169.254"])
    target = HttpTarget(f"http://hooks.example:{port}/x", 5, Net(["127.0.0.1"]))
    target.post(b"{}", "k")
    target.close()
    assert seen == [f"hooks.example:{port}"]
    assert resolver.asked.count("hooks.example") == 1  # no second answer lies between the check and the connection


def test_a_name_that_turns_to_a_private_address_is_refused(monkeypatch, server):
    port, seen = server
    Resolver(monkeypatch, hooks_example=["127.0.0.1"])
    target = HttpTarget(f"http://hooks.example:{port}/x", 5, Net())
    with pytest.raises(Unavailable, match="no public address"):
        target.post(b"{}", "k")
    assert seen == []


AWAY = ["away", "loop", "ping", "metadata", "decimal", "file", "inside", "neighbour"]


@pytest.mark.parametrize("path", AWAY)
def test_a_redirect_is_not_followed(server, path):
    port, seen = server
    target = HttpTarget(f"http://127.0.0.1:{port}/{path}", 5, Net(["127.0.0.1"]))
    with pytest.raises(Refused, match="redirects are not followed"):
        target.post(b"{}", "k")
    assert len(seen) == 1


def told_by_apprise(url, allow):
    """Send by Apprise, whose library follows redirects by itself."""
    channel = apprise.Config(url=url).open(Net(allow))
    message = single(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    channel.send(message, tell(message, {}))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("metadata", "an address of a metadata service"),
        ("decimal", "an address of a metadata service"),
        ("neighbour", "no public address"),
        ("file", "InvalidSchema|could not"),
        ("loop", "could not|TooManyRedirects"),
        ("ping", "could not|TooManyRedirects"),
    ],
)
def test_each_hop_of_a_redirect_that_a_library_follows_is_checked(server, path, says):
    port, seen = server
    with pytest.raises(Unavailable, match=says):
        told_by_apprise(f"json://127.0.0.1:{port}/{path}", ["127.0.0.1"])
    assert 1 <= len(seen) <= 31  # a loop ends
    assert set(seen) == {f"127.0.0.1:{port}"}


def test_a_redirect_to_an_address_that_is_allowed_is_followed_by_that_library(server):
    port, seen = server
    told_by_apprise(f"json://127.0.0.1:{port}/inside", ["127.0.0.1"])
    assert len(seen) == 2


def test_proxies_of_the_environment_are_not_asked(monkeypatch, server):
    port, seen = server
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    target = HttpTarget(f"http://127.0.0.1:{port}/x", 5, Net(["127.0.0.1"]))
    target.post(b"{}", "k")
    assert len(seen) == 1


def test_a_proxy_that_apprises_library_asks_must_be_allowed_itself(monkeypatch, server):
    port, seen = server
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match="no public address"):
        told_by_apprise("json://hooks.example/x", [])
    assert seen == []
    told_by_apprise("json://hooks.example/x", ["127.0.0.1"])
    assert seen == ["hooks.example"]


def test_an_allowed_name_may_be_private(monkeypatch, server):
    port, seen = server
    Resolver(monkeypatch, hooks_example=["127.0.0.1"])
    HttpTarget(f"http://hooks.example:{port}/x", 5, Net(["hooks.example"])).post(b"{}", "k")
    assert len(seen) == 1


def test_what_a_library_connects_to_is_checked_too(server):
    port, seen = server
    with Net().guarding(), pytest.raises(NotAllowed, match="no public address"):
        requests.post(f"http://127.0.0.1:{port}/x", data=b"", timeout=5)
    with Net(["127.0.0.1"]).guarding():
        requests.post(f"http://127.0.0.1:{port}/x", data=b"", timeout=5)
    requests.post(f"http://127.0.0.1:{port}/x", data=b"", timeout=5)
    assert len(seen) == 2


def test_an_answer_in_drops_ends_in_time():
    """A receiver that sends a byte now and then holds nobody for longer than the time for a request."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip():
        peer, _ = listener.accept()
        peer.recv(65536)
        while not stop.wait(0.1):
            try:
                peer.send(b"H")
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    target = HttpTarget(f"http://127.0.0.1:{listener.getsockname()[1]}/x", 1, Net(["127.0.0.1"]))
    with pytest.raises(Unavailable):
        target.post(b"{}", "k")
    stop.set()
    listener.close()
