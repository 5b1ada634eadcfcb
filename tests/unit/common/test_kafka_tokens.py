"""Tokens for OAUTHBEARER: where they come from, what they say, what is refused; integration/ logs in with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from leadsman_common.kafka_tokens import OPTION, for_librdkafka, source_of
from leadsman_common.settings import SettingError

OAUTH = {"sasl.mechanism": "OAUTHBEARER"}
MSK = "b-1.leadsman.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jwt(**claims):
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("options", [{"sasl.mechanism": "AWS_MSK_IAM"}, {**OAUTH, OPTION: "aws-msk-iam"}])
def test_msk_signs_a_request_to_connect(options):
    token = source_of(options, MSK)()
    url = urllib.parse.urlsplit(unpadded(token.value).decode())
    asked = dict(urllib.parse.parse_qsl(url.query))
    assert (url.scheme, url.netloc, url.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    assert asked["Action"] == "kafka-cluster:Connect"
    assert asked["X-Amz-Expires"] == "900"
    assert asked["X-Amz-Credential"].startswith("AKIDEXAMPLE/")
    assert asked["X-Amz-Credential"].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert asked["User-Agent"] == "leadsman"
    assert 800 < token.expires_s - time.time() <= 900
    assert asked["X-Amz-Signature"] == signature(asked, url.netloc, "eu-west-1", "wJalrXUtnFEMI")


def signature(asked, host, region, key):
    """AWS Signature Version 4 of a query, by hand: over everything but itself and the user agent after it."""
    signed = {k: v for k, v in asked.items() if k not in ("X-Amz-Signature", "User-Agent")}
    query = "&".join(f"{k}={urllib.parse.quote(v, '-_.~')}" for k, v in sorted(signed.items()))
    canonical = "\n".join(("GET", "/", query, f"host:{host}", "", "host", hashlib.sha256(b"").hexdigest()))
    scope = f"{asked['X-Amz-Date'][:8]}/{region}/kafka-cluster/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", asked["X-Amz-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()))
    made = f"AWS4{key}".encode()
    for part in (*scope.split("/"), text):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return made.hex()


@pytest.mark.usefixtures("aws")
def test_msk_takes_the_region_that_is_set(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    token = source_of({"sasl.mechanism": "AWS_MSK_IAM"}, MSK)()
    assert b"kafka.ap-south-1." in unpadded(token.value)


def test_google_wraps_the_access_token(monkeypatch):
    from datetime import datetime

    class Found:
        token = "ya29.opaque"
        service_account_email = "leadsman@example.iam.gserviceaccount.com"
        expiry = datetime.fromisoformat("2030-01-01T00:00:05")

        def refresh(self, _request):
            self.refreshed = True

    found = Found()
    monkeypatch.setattr(
        "google.auth.default", lambda scopes: (found, "example") if "cloud-platform" in scopes[0] else None
    )
    token = source_of({**OAUTH, OPTION: "google"})()
    head, claims, wrapped = (unpadded(part) for part in token.value.split("."))
    assert json.loads(head) == {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    assert json.loads(claims)["sub"] == token.principal == found.service_account_email
    assert json.loads(claims)["exp"] == token.expires_s == 1893456005.0  # the expiry is in UTC, without saying so
    assert wrapped == b"ya29.opaque"
    assert found.refreshed


@pytest.fixture
def provider():
    """An identity provider: gives a new token at each request, and keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        asked: ClassVar = []

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.asked.append((self.headers["Authorization"], dict(urllib.parse.parse_qsl(body))))
            told = {"access_token": jwt(sub="leadsman", n=len(self.asked)), "expires_in": 3600}
            data = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = Handler.asked
    yield server
    server.shutdown()
    server.server_close()


def oidc(server, **more):
    url = f"http://127.0.0.1:{server.server_port}/token"
    own = {"method": "oidc", "token.endpoint.url": url, "client.id": "lead:man", "client.secret": "s/cret", **more}
    return {**OAUTH, **{f"sasl.oauthbearer.{k}": v for k, v in own.items()}}


def test_oidc_asks_by_client_credentials_and_keeps_the_token(provider):
    source = source_of(oidc(provider, scope="kafka"))
    first = source()
    assert source() == first
    ((login, form),) = provider.asked
    assert base64.b64decode(login.removeprefix("Basic ")) == b"lead%3Aman:s%2Fcret"
    assert form == {"grant_type": "client_credentials", "scope": "kafka"}
    assert first.principal == "leadsman"
    assert 3500 < first.expires_s - time.time() <= 3600


def test_a_token_is_made_anew_before_it_expires(provider, monkeypatch):
    source = source_of(oidc(provider))
    source()
    later = time.time() + 3550
    monkeypatch.setattr("leadsman_common.kafka_tokens.time.time", lambda: later)
    source()
    assert len(provider.asked) == 2


def test_a_file_is_read_at_each_login(tmp_path):
    path = tmp_path / "token"
    path.write_text(jwt(sub="a", exp=2_000_000_000) + "\n")
    source = source_of({**OAUTH, OPTION: f"file:{path}"})
    assert source().expires_s == 2_000_000_000
    path.write_text("opaque")
    assert (source().value, source().principal) == ("opaque", "")
    assert source().expires_s > time.time()


def test_librdkafka_gets_a_callback_and_nothing_it_does_not_know(provider):
    options = for_librdkafka({**oidc(provider), "security.protocol": "sasl_ssl", OPTION: "oidc"}, "")
    callback = options.pop("oauth_cb")
    assert options == {"sasl.mechanism": "OAUTHBEARER", "security.protocol": "sasl_ssl"}
    value, expires_s, principal, extensions = callback("")
    assert (principal, extensions) == ("leadsman", {})
    assert value.count(".") == 2
    assert expires_s > time.time()


@pytest.mark.parametrize("options", [{}, {"sasl.mechanism": "PLAIN"}, {"security.protocol": "ssl"}])
def test_others_pass_as_they_are(options):
    assert for_librdkafka(options, "") == options


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (OAUTH, "OAUTHBEARER needs leadsman.token"),
        ({OPTION: "google"}, "not none"),
        ({"sasl.mechanism": "PLAIN", OPTION: "google"}, "not PLAIN"),
        ({**OAUTH, OPTION: "azure"}, "'azure' is none of"),
        ({**OAUTH, OPTION: "file:/nowhere"}, "there is no file /nowhere"),
        ({**OAUTH, OPTION: "oidc"}, "token.endpoint.url"),
        ({"sasl.mechanism": "AWS_MSK_IAM"}, "needs AWS_REGION"),
    ],
)
def test_what_cannot_be_is_refused(options, complaint):
    with pytest.raises(SettingError, match=complaint):
        source_of(options, "kafka.example.com:9092")
