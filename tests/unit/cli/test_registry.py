"""Schemas are registered by Confluent's protocol; tests/compose/run.sh does it against a real registry."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from leadsman_cli.registry import RegistryError, register
from leadsman_common.schemas import schemas_dir
from leadsman_common.topics import load


@pytest.fixture
def registry():
    """A server that keeps what it is asked; `.refuse` is a status to answer with."""

    class Handler(BaseHTTPRequestHandler):
        asked: ClassVar = []
        refuse = 0

        def _answer(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.asked.append((self.command, self.path, body))
            data = b'{"error_code":409,"message":"incompatible"}' if self.refuse else b'{"id":7}'
            self.send_response(self.refuse or 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = _answer

        def log_message(self, *_args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.handler, server.url = Handler, f"http://127.0.0.1:{server.server_port}/apis/ccompat/v7/"
    yield server
    server.shutdown()
    server.server_close()


def test_every_topic_with_a_schema_is_a_subject(registry):
    topics = load(schemas_dir() / "topics").values()
    ids = register(registry.url, topics, schemas_dir(), "prod.")
    assert set(ids) == {f"prod.{t.name}-value" for t in topics if t.schema.endswith(".avsc")}
    assert "prod.audit.events-value" in ids
    by_path = {(method, path): body for method, path, body in registry.handler.asked}
    body = by_path["POST", "/apis/ccompat/v7/subjects/prod.audit.events-value/versions"]
    assert json.loads(body["schema"])["name"] == "AuditEvent"
    assert by_path["PUT", "/apis/ccompat/v7/config/prod.audit.events-value"] == {"compatibility": "FULL_TRANSITIVE"}


def test_a_refusal_is_told(registry):
    registry.handler.refuse = 409
    with pytest.raises(RegistryError, match=r"409.*incompatible"):
        register(registry.url, load(schemas_dir() / "topics").values(), schemas_dir())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "file:///etc/passwd"])
def test_one_that_is_not_there_is_told(url):
    with pytest.raises(RegistryError):
        register(url, load(schemas_dir() / "topics").values(), schemas_dir())
