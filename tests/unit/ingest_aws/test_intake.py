"""What an input hands over: the records, and what they were made of, also where none is left of it."""

from collections import Counter

from leadsman_common.kafka import Outgoing
from leadsman_common.outbox import Outbox
from leadsman_common.raw import RawEvent
from leadsman_common.receipts import Handed
from leadsman_ingest_aws.intake import Made


class Broker:
    """A producer that keeps what it was given."""

    def __init__(self):
        self.sent = []

    def send(self, records):
        self.sent.append(records)

    def ready(self):
        return True


def made(events=0, dropped=0, bad=0):
    records = [Outgoing("raw.aws", b"", b"e")] * events + [Outgoing("raw.aws.dlq", b"", b"b")] * bad
    counts = Counter({"another log": dropped}) if dropped else Counter()
    return Made(records, [RawEvent(b"e")] * events, counts, {}, bad)


def test_what_came_is_what_went_on_and_what_did_not():
    found = made(events=3, dropped=2, bad=1).handed("queue q")
    assert (len(found), dict(found.received), dict(found.filtered)) == (4, {"queue q": 6}, {"another log": 2})


def test_of_what_nothing_is_left_an_account_is_kept_all_the_same():
    broker = Broker()
    outbox = Outbox(broker)
    outbox.send(made(dropped=2).handed("q"))
    outbox.send([])
    outbox.send(made(events=1).handed("q"))
    outbox.close()
    found = Handed.together(broker.sent)
    assert (len(found), dict(found.received), dict(found.filtered)) == (1, {"q": 3}, {"another log": 2})
    assert len(broker.sent) == 2
