"""How a schema registry is asked, by Confluent's protocol; tests/integration/test_schema_registry.py has a real one."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from leadsman_common.registry import Registry, RegistryAway, RegistryRefused, register
from leadsman_common.schemas import avsc_text, schemas_dir
from leadsman_common.settings import SettingError
from leadsman_common.topics import load


@pytest.fixture
def server():
    """A server that keeps what it is asked; `.answers` are its next ones, as (status, body), the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        asked: ClassVar = []
        answers: ClassVar = [(200, b'{"id":7,"subject":"s","version":1,"schema":"\\"string\\""}')]

        def _answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.asked.append((self.command, self.path, json.loads(body or b"null"), self.headers["Authorization"]))
            status, data = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_GET = _answer

        def log_message(self, *_args):
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    made.handler, made.url = Handler, f"http://127.0.0.1:{made.server_port}/apis/ccompat/v7/"
    yield made
    made.shutdown()
    made.server_close()


def told(status, **body):
    return status, json.dumps(body).encode()


def test_every_topic_with_a_schema_is_a_subject(server):
    topics = load(schemas_dir() / "topics").values()
    ids = register(Registry(server.url), topics, schemas_dir(), "prod.")
    assert set(ids) == {f"prod.{t.name}-value" for t in topics if t.schema.endswith(".avsc")}
    asked = {(method, path.partition("?")[0]): body for method, path, body, _ in server.handler.asked}
    body = asked["POST", "/apis/ccompat/v7/subjects/prod.audit.events-value"]
    assert json.loads(body["schema"])["name"] == "AuditEvent"
    assert asked["PUT", "/apis/ccompat/v7/config/prod.audit.events-value"]["compatibility"] == "FULL_TRANSITIVE"
    assert ("POST", "/apis/ccompat/v7/subjects/prod.audit.events-value/versions") not in asked


def test_what_is_not_there_is_registered(server):
    server.handler.answers[:] = [told(404, error_code=40403, message="no schema"), told(200, id=9)]
    assert Registry(server.url).id_of("alerts-value", avsc_text("alert")) == 9
    assert [path.partition("?")[0].rpartition("/")[2] for _, path, *_ in server.handler.asked] == [
        "alerts-value",
        "versions",
    ]


@pytest.mark.parametrize(
    ("answer", "raised", "says"),
    [
        (told(409, error_code=409, message="incompatible"), RegistryRefused, "HTTP 409: incompatible"),
        (told(422, error_code=42201, message="no schema"), RegistryRefused, "HTTP 422"),
        (told(401, error_code=40101, message="who are you"), RegistryRefused, "HTTP 401: who are you"),
        (told(403, error_code=40301, message="no"), RegistryRefused, "HTTP 403"),
        (told(500, error_code=50001, message="broken"), RegistryAway, "HTTP 500: broken"),
        (told(503, error_code=50003, message="forward"), RegistryAway, "HTTP 503"),
        (told(429, error_code=429, message="slow"), RegistryAway, "HTTP 429"),
        ((200, b"<html>a login page</html>"), RegistryAway, "schema registry at http://127.0.0.1"),
        ((200, b"{}"), RegistryAway, "schema registry at http://127.0.0.1"),
        ((200, b"[]"), RegistryAway, "schema registry at http://127.0.0.1"),
        ((502, b"<html>bad gateway</html>"), RegistryAway, "HTTP 502"),
    ],
)
def test_what_it_answers(server, answer, raised, says):
    server.handler.answers[:] = [answer]
    with pytest.raises(raised, match=says):
        Registry(server.url).id_of("alerts-value", avsc_text("alert"))
    assert len(server.handler.asked) == 1


def test_one_that_is_not_there_is_told():
    with pytest.raises(RegistryAway, match="schema registry at http"):
        Registry("http://127.0.0.1:1/").schema(1)


def test_the_next_of_several_is_asked_where_one_is_not_there(server):
    assert Registry(f"http://127.0.0.1:1,{server.url}").id_of("alerts-value", avsc_text("alert")) == 7


def test_basic_auth_is_sent_and_not_told(server):
    server.handler.answers[:] = [told(401, error_code=40101, message="no")]
    with pytest.raises(RegistryRefused) as error:
        Registry(server.url, {"basic.auth.user.info": "leadsman:planted-secret"}).schema(3)
    assert server.handler.asked[0][3] == "Basic " + base64.b64encode(b"leadsman:planted-secret").decode()
    assert "planted-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("registry:8081", {}, "LEADSMAN_SCHEMA_REGISTRY_URL"),
        ("ftp://registry", {}, "LEADSMAN_SCHEMA_REGISTRY_URL"),
        ("file:///etc/passwd", {}, "LEADSMAN_SCHEMA_REGISTRY_URL"),
        ("http://[::1", {}, "LEADSMAN_SCHEMA_REGISTRY_URL"),
        ("https://user:planted-secret@registry", {}, "LEADSMAN_SCHEMA_REGISTRY_URL"),
        ("https://one,https://user:planted-secret@two", {}, "LEADSMAN_SCHEMA_REGISTRY_URL"),
        ("https://registry", {"basic.auth.user.info": "nobody"}, "LEADSMAN_SCHEMA_REGISTRY_OPTIONS"),
        ("https://registry", {"no.such": "x"}, "LEADSMAN_SCHEMA_REGISTRY_OPTIONS: Unrecognized properties: no.such"),
        ("https://registry", {"ssl.ca.location": "/no/such/file"}, "LEADSMAN_SCHEMA_REGISTRY_OPTIONS"),
        ("https://registry", {"ssl.key.location": "/no/such/file"}, "LEADSMAN_SCHEMA_REGISTRY_OPTIONS"),
    ],
)
def test_settings_that_cannot_be_used(url, options, says):
    with pytest.raises(SettingError, match=says) as error:
        Registry(url, options)
    assert "planted-secret" not in str(error.value)
