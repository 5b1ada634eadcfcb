"""ingest-k8s' settings: open to everybody only where somebody says so."""

import pytest

from leadsman_common.settings import SettingError, load
from leadsman_ingest_k8s.config import Settings

GOOD = {"LEADSMAN_LISTEN_PORT": "8443", "LEADSMAN_AUDIT_SENDERS": "/etc/leadsman/senders"}


def test_good_settings():
    assert load(Settings, GOOD).audit_senders == "/etc/leadsman/senders"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"LEADSMAN_LISTEN_PORT": "-1"}, "LEADSMAN_LISTEN_PORT is not set"),
        ({"LEADSMAN_AUDIT_SENDERS": ""}, "either LEADSMAN_AUDIT_SENDERS"),
        ({"LEADSMAN_AUDIT_ANYONE": "true"}, "either LEADSMAN_AUDIT_SENDERS"),
        ({"LEADSMAN_LISTEN_TLS_CERT": "/nowhere"}, "LEADSMAN_LISTEN_TLS_KEY go together"),
    ],
)
def test_a_mistake_is_said(change, said):
    with pytest.raises(SettingError) as raised:
        load(Settings, {**GOOD, **change})
    assert said in str(raised.value)
