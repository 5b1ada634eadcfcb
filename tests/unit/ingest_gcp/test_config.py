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


@pytest.mark.parametrize(
    ("name", "text"),
    [("GKE_INVENTORY", "Project"), ("GKE_ENDPOINT", "http://container.googleapis.com"), ("INVENTORY_S", "0")],
)
def test_the_inventory(name, text):
    env = {"LEADSMAN_PUBSUB_SUBSCRIPTIONS": "projects/p/subscriptions/a", f"LEADSMAN_{name}": text}
    with pytest.raises(SettingError, match=f"LEADSMAN_{name}"):
        load(Settings, env)
