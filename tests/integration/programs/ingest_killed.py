"""A service that hands over and then answers, killed by SIGKILL between two steps: `ingest_killed.py MODULE STEP`.

STEP is read (nothing is handed to Kafka yet), produced (Kafka has it, upstream knows nothing) or acked (upstream was
answered, as far as this process can tell), each the place right after that step.
"""

import os
import runpy
import signal
import sys

from aiohttp import web
from google.cloud.pubsub_v1.subscriber.message import Message

from leadsman_common.kafka import AckedProducer

module, step = sys.argv[1:]
sys.argv[1:] = []


def die():
    os.kill(os.getpid(), signal.SIGKILL)


send, ack, write = AckedProducer.send, Message.ack, web.Response.write_eof


def send_or_die(self, records):
    records = list(records)
    if step == "read" and records:
        die()
    send(self, records)
    if step == "produced" and records:
        die()


def ack_or_die(self):
    ack(self)
    if step == "acked":
        die()


async def write_or_die(self, data=b""):
    posted = self._req is not None and self._req.method == "POST"
    await write(self, data)
    if step == "acked" and posted and self.status < 300:
        die()


AckedProducer.send, Message.ack, web.Response.write_eof = send_or_die, ack_or_die, write_or_die
runpy.run_module(module, run_name="__main__", alter_sys=True)
