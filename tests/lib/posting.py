"""Posts audit events to a running ingest-k8s, as an API server does."""

import http.client
import json

TOKEN = "0123456789abcdef-prod"


class Webhook:
    """A running service and how to post to it."""

    def __init__(self, service, eventually, scheme="http", context=None):
        self.service, self.context, self._scheme = service, context, scheme
        eventually("taking requests", lambda: service.lines("taking requests"))
        self.port = service.lines("taking requests")[-1]["port"]

    def post(self, body, cluster="prod", token=TOKEN, context=None, timeout=30, under="audit", **headers):
        """(status, Retry-After, text); raises ssl.SSLError where TLS refuses, OSError where nobody answers."""
        context = context or self.context
        kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
        connection = kind("127.0.0.1", self.port, timeout=timeout, **({"context": context} if context else {}))
        given = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("POST", f"/{under}/{cluster}?timeout=30s", body, {**given, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers["Retry-After"], answer.read().decode()
        finally:
            connection.close()


def event(at):
    return {"kind": "Event", "auditID": f"a-{at}", "stage": "ResponseComplete", "verb": "get"}


def batch(*ats):
    items = [{**event(at), "kind": ""} for at in ats]
    return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items}).encode()


def ids(records):
    return {json.loads(record.value())["auditID"] for record in records}
