"""Which subscriptions the settings accept."""

import pytest

from leadsman_common.settings import SettingError, load
from leadsman_ingest_gcp.config import Settings


def test_many_subscriptions():
    text = "projects/p/subscriptions/a, projects/q/subscriptions/b"
    settings = load(Settings, {"LEADSMAN_PUBSUB_SUBSCRIPTIONS": text})
    assert settings.pubsub_subscriptions == ("projects/p/subscriptions/a", "projects/q/subscriptions/b")


@pytest.mark.parametrize("text", ["", "audit", "projects/p/topics/a", "projects/p/subscriptions/a/b"])
def test_refused(text):
    with pytest.raises(SettingError, match="LEADSMAN_PUBSUB_SUBSCRIPTIONS"):
        load(Settings, {"LEADSMAN_PUBSUB_SUBSCRIPTIONS": text})
