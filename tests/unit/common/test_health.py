"""The health port over real HTTP."""

import http.client

import pytest

from leadsman_common import health, metrics


class Switch:
    ready = True
    alive = True


@pytest.fixture(scope="module")
def switch():
    return Switch()


@pytest.fixture(scope="module")
def port(switch):
    server = health.serve("127.0.0.1", 0, lambda: switch.ready, lambda: switch.alive)
    assert server is not None
    yield server.port
    server.close()


def ask(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("ready", "alive", "path", "status", "body"),
    [
        (True, True, "/healthz", 200, b"ok\n"),
        (True, True, "/readyz", 200, b"ok\n"),
        (False, True, "/healthz", 200, b"ok\n"),
        (False, True, "/readyz", 503, b"not ready\n"),
        (True, False, "/healthz", 503, b"not ready\n"),
        (True, True, "/readyz?verbose=1", 200, b"ok\n"),
        (True, True, "/", 404, b"not found\n"),
        (True, True, "/healthz/../metrics", 404, b"not found\n"),
    ],
)
def test_answers(port, switch, ready, alive, path, status, body):
    switch.ready, switch.alive = ready, alive
    assert ask(port, path) == (status, "text/plain", body)


def test_metrics(port):
    metrics.DEAD_LETTERED.labels("test", "raw.x.dlq").inc()
    status, kind, body = ask(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert b'leadsman_dead_lettered_total{service="test",topic="raw.x.dlq"} 1.0' in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE"])
def test_only_get(port, method):
    assert ask(port, "/healthz", method)[0] == 501


def test_nothing_is_logged(port, capfd):
    ask(port, "/healthz")
    assert capfd.readouterr() == ("", "")


def test_a_negative_port_is_none():
    assert health.serve("127.0.0.1", -1, lambda: True) is None


def test_closed_means_closed(switch):
    server = health.serve("127.0.0.1", 0, lambda: switch.ready)
    assert server is not None
    server.close()
    with pytest.raises(ConnectionRefusedError):
        ask(server.port, "/healthz")
