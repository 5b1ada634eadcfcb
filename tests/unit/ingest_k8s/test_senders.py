"""Who may post: the file, tokens, certificates, rotation while it runs."""

import hashlib

import pytest

from leadsman_ingest_k8s import senders
from leadsman_ingest_k8s.senders import InvalidSendersError, SendersFile, load_senders

TOKEN = "0123456789abcdef-prod"
OTHER = "0123456789abcdef-other"
FILE = f"""
# a comment
prod    token:{TOKEN}
prod    sha256:{hashlib.sha256(OTHER.encode()).hexdigest().upper()}
stage   cert:stage-apiserver
*       cert:gateway
"""


def certificate(common_name, *dns):
    return {
        "subject": ((("organizationName", "prod"),), (("commonName", common_name),)),
        "subjectAltName": (*(("DNS", name) for name in dns), ("IP Address", "10.0.0.1")),
    }


def load(tmp_path, text):
    path = tmp_path / "senders"
    path.write_text(text)
    return load_senders(path)


@pytest.mark.parametrize(
    ("cluster", "token", "given", "may"),
    [
        ("prod", TOKEN, None, True),
        ("prod", OTHER, None, True),
        ("stage", "", certificate("stage-apiserver"), True),
        ("stage", "", certificate("x", "stage-apiserver"), True),
        ("prod", "", certificate("gateway"), True),
        ("anything", "", certificate("gateway"), True),
        ("prod", "", None, False),
        ("prod", TOKEN[:-1], None, False),
        ("prod", TOKEN + "x", None, False),
        ("prod", TOKEN.upper(), None, False),
        ("prod", hashlib.sha256(OTHER.encode()).hexdigest(), None, False),
        ("stage", TOKEN, None, False),
        ("anything", TOKEN, None, False),
        ("prod", "", certificate("stage-apiserver"), False),
        ("stage", "", certificate("prod"), False),
        ("*", TOKEN, None, False),
        ("prod", "gateway", None, False),
        ("prod", "cert:gateway", None, False),
    ],
    ids=[
        "token",
        "token by its hash",
        "common name",
        "DNS name",
        "every cluster",
        "a cluster of no line",
        "nothing",
        "a prefix",
        "a longer one",
        "other case",
        "the hash itself",
        "another cluster's token",
        "no cluster's",
        "another cluster's certificate",
        "organization",
        "the star",
        "a name as token",
        "a credential as token",
    ],
)
def test_who_may(tmp_path, cluster, token, given, may):
    assert load(tmp_path, FILE).may(cluster, token, given) is may


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nobody may send"),
        ("# only this", "nobody may send"),
        ("prod", "line 1: must be CLUSTER and CREDENTIAL"),
        ("\nprod token:a b", "line 2: must be CLUSTER and CREDENTIAL"),
        ("prod token:short", "line 1: the credential is not"),
        ("prod sha256:abc", "the credential is not"),
        ("prod cert:", "the credential is not"),
        ("prod basic:aaaaaaaaaaaaaaaaaaaa", "the credential is not"),
        ("pr/od token:0123456789abcdef", "'pr/od' cannot be a cluster's name"),
        ("../x token:0123456789abcdef", "cannot be a cluster's name"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_no_secret(tmp_path, text, said):
    with pytest.raises(InvalidSendersError) as raised:
        load(tmp_path, text)
    assert said in str(raised.value)
    assert "0123456789" not in str(raised.value)


class Log:
    def __init__(self):
        self.said = []

    def info(self, event, **_):
        self.said.append(event)

    error = info


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(senders, "_LOOK_S", 0.0)
    path, log = tmp_path / "senders", Log()
    path.write_text(f"prod token:{TOKEN}")
    file = SendersFile(path, log)
    path.write_text(f"prod token:{TOKEN}\nprod token:{OTHER}")
    assert file.now().may("prod", OTHER, None)
    path.write_text("prod token:")
    assert file.now().may("prod", OTHER, None)
    assert "the old one stays" in log.said[-1]
    path.unlink()
    assert file.now().may("prod", TOKEN, None)
    path.write_text(f"prod token:{OTHER}")
    assert not file.now().may("prod", TOKEN, None)
