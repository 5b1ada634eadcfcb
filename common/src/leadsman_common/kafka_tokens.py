"""Tokens for Kafka's SASL mechanism OAUTHBEARER, the same ones for confluent-kafka and for Faust's aiokafka.

`leadsman.token` among the Kafka options says where they come from; the clients never see that option itself:

    aws-msk-iam   Amazon MSK's IAM: a request to connect, signed with the AWS SDK's credentials (IRSA, pod identity ...)
    google        Google's Managed Service for Apache Kafka: the application default credentials (workload identity ...)
    oidc          an identity provider by client credentials, told by librdkafka's own sasl.oauthbearer.* options
    file:PATH     a file that something else keeps fresh, such as a projected service account token

`sasl.mechanism` AWS_MSK_IAM is short for the first, `sasl.oauthbearer.method` oidc for the third.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

from leadsman_common.settings import SettingError

OPTION = "leadsman.token"
MECHANISMS = ("sasl.mechanism", "sasl.mechanisms")
MSK_EXPIRES_S = 900
FILE_EXPIRES_S = 300  # where a file's token does not say when it expires
TIMEOUT_S = 10
EARLY_S = 60  # a token is made anew so long before it expires
_WHERE = "LEADSMAN_KAFKA_OPTIONS"
_MSK_HOST = re.compile(r"\.kafka(?:-serverless)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com|api\.aws)")


class Token(NamedTuple):
    """What is presented, until when it holds (Unix time), and for whom."""

    value: str
    expires_s: float
    principal: str = ""


TokenSource = Callable[[], Token]


def source_of(options: Mapping[str, str], bootstrap: str = "") -> TokenSource | None:
    """Where tokens come from, or None where the options ask for none. Raises SettingError for what cannot be."""
    kind = options.get(OPTION, "")
    mechanism = next((options[name] for name in MECHANISMS if name in options), "").upper()
    if not kind and mechanism == "AWS_MSK_IAM":
        kind = "aws-msk-iam"
    if not kind and options.get("sasl.oauthbearer.method", "").lower() == "oidc":
        kind = "oidc"
    if not kind:
        if mechanism == "OAUTHBEARER":
            raise SettingError(f"{_WHERE}: OAUTHBEARER needs {OPTION}: aws-msk-iam, google, oidc or file:PATH")
        return None
    if mechanism not in ("OAUTHBEARER", "AWS_MSK_IAM"):
        raise SettingError(f"{_WHERE}: {OPTION} goes with sasl.mechanism OAUTHBEARER, not {mechanism or 'none'}")
    if kind == "aws-msk-iam":
        return _kept(_msk(_region(bootstrap)))
    if kind == "google":
        return _kept(_google)
    if kind == "oidc":
        return _kept(_oidc(options))
    if kind.startswith("file:"):
        return _file(Path(kind.removeprefix("file:")))
    raise SettingError(f"{_WHERE}: {OPTION}={kind!r} is none of aws-msk-iam, google, oidc, file:PATH")


def for_librdkafka(options: Mapping[str, str], bootstrap: str) -> dict[str, Any]:
    """The options as librdkafka takes them: with a callback for tokens where they ask for one."""
    source = source_of(options, bootstrap)
    if source is None:
        return dict(options)
    kept = {k: v for k, v in options.items() if k != OPTION and k not in MECHANISMS and not k.startswith("sasl.oauth")}

    def oauth_cb(_config: str) -> tuple[str, float, str, dict[str, str]]:
        token = source()
        return token.value, token.expires_s, token.principal, {}

    return {**kept, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": oauth_cb}


def _kept(make: TokenSource) -> TokenSource:
    """The same token until shortly before it expires: both clients of a process ask at every connection."""
    lock = threading.Lock()
    kept: list[Token] = []

    def source() -> Token:
        with lock:
            if not kept or kept[0].expires_s - time.time() < EARLY_S:
                kept[:] = [make()]
            return kept[0]

    return source


def _region(bootstrap: str) -> str:
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return region
    if found := _MSK_HOST.search(bootstrap):
        return found["region"]
    raise SettingError(f"{_WHERE}: aws-msk-iam needs AWS_REGION, since the brokers' names do not tell it")


def _msk(region: str) -> TokenSource:
    """https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html: a signed URL, in base64url."""
    import botocore.session  # noqa: PLC0415 - only where it is asked for
    from botocore.auth import SigV4QueryAuth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415

    session = botocore.session.Session()

    def make() -> Token:
        credentials = session.get_credentials()
        if credentials is None:
            raise RuntimeError("aws-msk-iam: the AWS SDK finds no credentials")
        url = f"https://kafka.{region}.amazonaws.com/?" + urllib.parse.urlencode({"Action": "kafka-cluster:Connect"})
        request = AWSRequest(method="GET", url=url)
        SigV4QueryAuth(credentials.get_frozen_credentials(), "kafka-cluster", region, MSK_EXPIRES_S).add_auth(request)
        signed = f"{request.url}&User-Agent=leadsman"
        return Token(_base64url(signed.encode()), time.time() + MSK_EXPIRES_S, "leadsman")

    return make


def _google() -> Token:
    """Two parts about the access token, and itself.

    https://cloud.google.com/managed-service-for-apache-kafka/docs/authentication-kafka
    """
    import google.auth  # noqa: PLC0415 - only where it is asked for
    import urllib3  # noqa: PLC0415
    from google.auth.transport.urllib3 import Request  # noqa: PLC0415

    credentials: Any = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
    request: Any = Request
    credentials.refresh(request(urllib3.PoolManager()))
    expires_s = credentials.expiry.replace(tzinfo=UTC).timestamp()
    principal = str(getattr(credentials, "service_account_email", "") or getattr(credentials, "account", ""))
    head = {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    claims = {"exp": expires_s, "iat": time.time(), "iss": "Google", "scope": "kafka", "sub": principal}
    parts = (json.dumps(head), json.dumps(claims), str(credentials.token))
    return Token(".".join(_base64url(part.encode()) for part in parts), expires_s, principal)


def _oidc(options: Mapping[str, str]) -> TokenSource:
    """Client credentials (RFC 6749, 4.4) by the options that librdkafka has for it."""
    url, who, secret = (
        options.get(f"sasl.oauthbearer.{name}", "") for name in ("token.endpoint.url", "client.id", "client.secret")
    )
    if not (url and who and secret):
        raise SettingError(f"{_WHERE}: oidc needs sasl.oauthbearer.token.endpoint.url, .client.id and .client.secret")
    if not url.startswith(("https://", "http://")):
        raise SettingError(f"{_WHERE}: sasl.oauthbearer.token.endpoint.url is no http(s) URL")
    form = {"grant_type": "client_credentials"}
    if scope := options.get("sasl.oauthbearer.scope"):
        form["scope"] = scope
    trust = ssl.create_default_context(cafile=options.get("https.ca.location")) if url.startswith("https") else None

    def make() -> Token:
        login = base64.b64encode(f"{urllib.parse.quote(who, '')}:{urllib.parse.quote(secret, '')}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
            url,
            data=urllib.parse.urlencode(form).encode(),
            headers={"Authorization": f"Basic {login}", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trust) as answer:  # noqa: S310
            told = json.load(answer)
        value = str(told["access_token"])
        claims = _claims(value)
        expires_s = time.time() + float(told.get("expires_in", 0)) if told.get("expires_in") else claims.get("exp")
        return Token(value, float(expires_s or time.time() + FILE_EXPIRES_S), str(claims.get("sub", who)))

    return make


def _file(path: Path) -> TokenSource:
    if not path.is_file():
        raise SettingError(f"{_WHERE}: {OPTION}: there is no file {path}")

    def read() -> Token:
        value = path.read_text(encoding="ascii").strip()
        claims = _claims(value)
        return Token(value, float(claims.get("exp") or time.time() + FILE_EXPIRES_S), str(claims.get("sub", "")))

    return read


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself; nothing where it is none. It is the broker that checks it."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
