"""ingest-azure: a connection string becomes a Kafka client."""

import pytest

from leadsman_common.settings import SettingError, load, shown
from leadsman_ingest_azure.config import Settings

NAMESPACE = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=c2VjcmV0=="


def settings(connection, **more):
    return load(Settings, {"LEADSMAN_EVENTHUBS_CONNECTION": connection, **more})


def test_a_hub_s_connection():
    found = settings(f"{NAMESPACE};EntityPath=audit")
    assert found.bootstrap() == "ns.servicebus.windows.net:9093"
    assert [(s.topic, s.format) for s in found.sources()] == [("audit", "aks-audit")]
    options = found.options()
    assert (options["sasl.username"], options["security.protocol"]) == ("$ConnectionString", "SASL_SSL")
    assert options["sasl.password"] == f"{NAMESPACE};EntityPath=audit"
    assert "c2VjcmV0" not in str(shown(found))


def test_a_namespace_with_hubs_and_options():
    found = settings(NAMESPACE, LEADSMAN_EVENTHUBS="a, b", LEADSMAN_EVENTHUBS_OPTIONS="ssl.ca.location=/ca.pem")
    assert found.hubs() == ("a", "b")
    assert found.options()["ssl.ca.location"] == "/ca.pem"


@pytest.mark.parametrize(
    ("connection", "more", "said"),
    [
        ("", {}, "LEADSMAN_EVENTHUBS_CONNECTION is not set"),
        ("SharedAccessKey=a", {}, "has no Endpoint=sb://"),
        ("Endpoint=sb://ns/", {}, "has no SharedAccessKey"),
        (NAMESPACE, {}, "LEADSMAN_EVENTHUBS is not set"),
        (NAMESPACE, {"LEADSMAN_EVENTHUBS": "a", "LEADSMAN_BATCH_MESSAGES": "0"}, "not between 1 and 10000"),
    ],
)
def test_a_mistake_is_said_and_no_secret(connection, more, said):
    with pytest.raises(SettingError) as raised:
        settings(connection, **more)
    assert said in str(raised.value)
    assert "c2VjcmV0" not in str(raised.value)
