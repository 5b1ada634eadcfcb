"""Push tokens: one that is good, and every forgery that is known."""

import json
import time

import pytest
from push_tokens import EMAIL, EXPECTED, FORGED, GOOD, KEY, KEYS, NOW, OTHER, jwk, part, token

from leadsman_ingest_gcp.tokens import BadToken, KeySet, read_keys, verify


def test_a_good_token():
    assert verify(GOOD, KEYS, EXPECTED, NOW) == EMAIL
    assert verify(token(key=OTHER, header={"kid": "two"}), KEYS, EXPECTED, NOW) == EMAIL
    assert verify(token(iss="accounts.google.com", nbf=NOW), KEYS, EXPECTED, NOW) == EMAIL


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused(forged):
    with pytest.raises(BadToken):
        verify(forged, KEYS, EXPECTED, NOW)


def test_keys_that_are_none_are_passed_over():
    small = {**jwk(KEY, "small"), "n": part((2**512 + 1).to_bytes(65))}
    odd = [small, {"kty": "EC", "kid": "c"}, {**jwk(KEY, "x"), "n": 1}, {**jwk(KEY, "y"), "use": "enc"}, 5]
    assert set(read_keys(json.dumps({"keys": [*odd, jwk(KEY, "good")]}).encode())) == {"good"}
    for wrong in (b"", b"[]", b'{"keys":{}}', json.dumps({"keys": odd}).encode()):
        with pytest.raises(ValueError):  # noqa: PT011
            read_keys(wrong)


class Log:
    def warning(self, *_args, **_fields):
        pass


def test_keys_are_kept_while_they_cannot_be_fetched(monkeypatch):
    monkeypatch.setattr("leadsman_ingest_gcp.tokens._AGAIN_S", 0.01)
    answers = [json.dumps({"keys": [jwk(KEY, "one")]}).encode()]
    asked = []

    def fetch(url):
        asked.append(url)
        if not answers:
            raise OSError("no network")
        return answers.pop(0)

    keys = KeySet("https://keys.example.com", Log(), fetch)
    until(keys.now)
    until(lambda: keys.look() or len(asked) > 1)  # a look that comes while they are fetched is no other one
    assert set(keys.now()) == {"one"}
    answers.append(json.dumps({"keys": [jwk(OTHER, "two")]}).encode())
    until(lambda: set(keys.now()) == {"two"})
    keys.close()


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
