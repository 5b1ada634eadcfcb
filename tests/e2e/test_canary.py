"""A canary through the whole stream: a test alert while it comes, one alert when it stays away, and its end."""

import time

import canary_lines
import pytest

pytestmark = pytest.mark.e2e

ACCOUNT, CLUSTER = "111122223333", "lightship"
EVERY_S = 8


@pytest.fixture
def watched(stream):
    """The stream with a normalizer that looks each second at what is missing, and afterwards at nothing again."""
    stream.services.stop("normalizer")
    stream.services.start("normalizer", env={"LEADSMAN_SILENCE_LOOK_S": "1"})
    stream.services.wait_ready("normalizer")
    yield stream
    stream.services.stop("normalizer")
    stream.services.start("normalizer")
    stream.services.wait_ready("normalizer")


def test_it_comes_back_stays_away_and_comes_again(watched, receiver):
    sent = 0

    def told():
        found = [a for a in watched.alerts() if a["cluster"]["name"] == CLUSTER]
        return {
            "canary": len({a["id"] for a in found if a["rule"]["name"] == "canary"}),
            "missing": sorted(
                {(a["level"], a["revision"], a["id"]) for a in found if a["rule"]["name"] == "canary-missing"}
            ),
        }

    def send(every_s=EVERY_S):
        nonlocal sent
        watched.put_cloudwatch(CLUSTER, ACCOUNT, [canary_lines.line(every_s)])
        sent += 1

    for _ in range(4):
        send()
        time.sleep(1)
    watched.until(lambda: told()["canary"] == sent, "each canary a test alert")
    watched.until(lambda: told()["missing"], "an alert that it stays away")
    time.sleep(3)  # it is looked at each second
    ((level, revision, alert_id),) = told()["missing"]
    assert (level, revision) == ("high", 0)

    send(0)  # back, and for the last time: nothing is missed from then on
    watched.until(lambda: len(told()["missing"]) == 2, "its end")
    assert ("informational", 1, alert_id) in told()["missing"]
    watched.until(lambda: told()["canary"] == sent, "the last one")

    def people_heard():
        heard = {b["rule"]["name"] for b in receiver.bodies if b["cluster"]["name"] == CLUSTER}
        return heard >= {"canary", "canary-missing"}

    watched.until(people_heard, "the webhook heard of both")
