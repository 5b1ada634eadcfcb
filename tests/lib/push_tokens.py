"""Tokens of push requests, signed by keys of the tests: one that is good, and every forgery that is known."""

import base64
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from leadsman_ingest_gcp.tokens import Expected, read_keys

NOW = int(time.time())
DAY_S = 86_400  # the tokens are made when the tests are collected: a long run must not outlive what they are to be
EMAIL = "push@example-project.iam.gserviceaccount.com"
AUDIENCE = "https://ingest.example.com/pubsub/push"
EXPECTED = Expected(frozenset({AUDIENCE}), frozenset({EMAIL}))
KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
CLAIMS = {
    "iss": "https://accounts.google.com",
    "aud": AUDIENCE,
    "azp": "1",
    "email": EMAIL,
    "email_verified": True,
    "sub": "1",
    "iat": NOW - 10,
    "exp": NOW + DAY_S,
}


def part(document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwk(key, kid):
    numbers = key.public_key().public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": part(numbers.n.to_bytes(size)), "e": "AQAB"}


def token(key=KEY, header=None, drop=(), sign=None, **claims):
    said = {k: v for k, v in {**CLAIMS, **claims}.items() if k not in drop}
    text = f"{part({'alg': 'RS256', 'kid': 'one', 'typ': 'JWT', **(header or {})})}.{part(said)}"
    signature = sign(text.encode()) if sign else key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{part(signature)}"


JWKS = json.dumps({"keys": [jwk(KEY, "one"), jwk(OTHER, "two")]}).encode()
KEYS = read_keys(JWKS)
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


def with_hs256(secret):
    return token(header={"alg": "HS256"}, sign=lambda text: hmac.digest(secret, text, hashlib.sha256))


FORGED = {
    "nothing": "",
    "no JWT": "abc",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.x",
    "alg none": token(header={"alg": "none"}, sign=lambda _: b""),
    "alg None": token(header={"alg": "None"}, sign=lambda _: b""),
    "alg none with the signature": token(header={"alg": "none"}),
    "no alg": token(header={"alg": None}),
    "HS256 with the public key": with_hs256(PEM),
    "HS256 with the modulus": with_hs256(jwk(KEY, "one")["n"].encode()),
    "HS256 with nothing": with_hs256(b""),
    "ES256": token(header={"alg": "ES256"}, sign=lambda t: CURVE.sign(t, ec.ECDSA(hashes.SHA256()))),
    "RS512": token(header={"alg": "RS512"}, sign=lambda t: KEY.sign(t, padding.PKCS1v15(), hashes.SHA512())),
    "PSS": token(sign=lambda t: KEY.sign(t, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())),
    "SHA-1": token(sign=lambda t: KEY.sign(t, padding.PKCS1v15(), hashes.SHA1())),  # noqa: S303
    "another's key": token(key=OTHER),
    "unknown kid": token(header={"kid": "three"}),
    "no kid": token(header={"kid": None}),
    "kid a list": token(header={"kid": ["one"]}),
    "kid a path": token(header={"kid": "../../dev/null"}),
    "its own key in the header": token(key=OTHER, header={"jwk": jwk(OTHER, "one")}),
    "a JWKS of its own": token(key=OTHER, header={"jku": "https://attacker.example.com/jwks", "kid": "x"}),
    "crit": token(header={"crit": ["exp"]}),
    "claims changed": f"{HEAD}.{part({**CLAIMS, 'email': 'x'})}.{SIGNATURE}",
    "header changed": f"{part({'alg': 'RS256', 'kid': 'two'})}.{BODY}.{SIGNATURE}",
    "no signature": f"{HEAD}.{BODY}.",
    "half a signature": f"{HEAD}.{BODY}.{SIGNATURE[:100]}",
    "wrong audience": token(aud="https://other.example.com/pubsub/push"),
    "audience a prefix": token(aud=AUDIENCE[:-1]),
    "audience in other case": token(aud=AUDIENCE.upper()),
    "audiences": token(aud=[AUDIENCE]),
    "no audience": token(drop=("aud",)),
    "wrong issuer": token(iss="https://accounts.google.com.attacker.example.com"),
    "no issuer": token(drop=("iss",)),
    "wrong email": token(email="push@other-project.iam.gserviceaccount.com"),
    "no email": token(drop=("email",)),
    "email a list": token(email=[EMAIL]),
    "email not verified": token(email_verified=False),
    "email verified as text": token(email_verified="true"),
    "email verified unsaid": token(drop=("email_verified",)),
    "expired": token(exp=NOW - 60),
    "no expiry": token(drop=("exp",)),
    "expiry as text": token(exp=str(NOW + 100)),
    "expiry true": token(exp=True),
    "issued in the future": token(iat=NOW + DAY_S),
    "not before the future": token(nbf=NOW + DAY_S),
    "not before as text": token(nbf="x"),
    "padding": f"{HEAD}=.{BODY}.{SIGNATURE}",
    "blanks inside": f"{HEAD}.{BODY} .{SIGNATURE}",
    "no object": f"{part([1])}.{BODY}.{SIGNATURE}",
    "deep": f"{part(b'[' * 3000)}.{BODY}.{SIGNATURE}",
    "huge": "a" * 100_000,
    "another letter": f"{HEAD}.{BODY}.{SIGNATURE[:-3]}é=",
}
