"""What every test may ask for: the local stack, cloud stand-ins, topics of its own, corpora, golden files.

Nothing starts until a test asks, and everything that started is stopped when the session ends, however it ends.
Under CI=true a skipped test is a failure, so that a green run means that every test ran.
"""

from __future__ import annotations

import atexit
import difflib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

REPO = Path(__file__).resolve().parents[1]
# the one reason that may skip a test in CI: the folder lies outside the repository
CORPORA_ABSENT = "shared corpora absent"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-write", action="store_true", help="write the golden files instead of comparing with them"
    )


# --- a skip is a failure in CI ---------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _fail_if_skipped((yield))


def _fail_if_skipped(report: Any) -> Any:
    """Turn a skip into a failure under CI=true; an expected failure (xfail) reports as skipped too and stays."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(CORPORA_ABSENT):
        report.outcome = "failed"
        report.longrepr = f"a skipped test is a failure in CI; it was skipped because: {reason}"
    return report


# --- logs -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a service that ran in this process set up: its stderr was the test's, which is closed afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


# --- the local stack -------------------------------------------------------------------------------------------


def load_local(name: str) -> ModuleType:
    """Import a module of deploy/local (scripts, not a package), by its plain name."""
    if name not in sys.modules:
        folder = REPO / "deploy" / "local"
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def local() -> Callable[[str], ModuleType]:
    """Give `load_local`: local("stack"), local("emulators")."""
    return load_local


@pytest.fixture(scope="module")
def mix() -> Iterator[ModuleType]:
    """Give the module bench/mix.py, and the benchmark's folder to import from meanwhile; it is no package."""
    folder = str(REPO / "bench")
    sys.path.append(folder)
    try:
        import mix

        yield mix
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="session")
def run_dir() -> Iterator[Path]:
    """Give the session's run dir (pid files, logs, data); what runs in it is stopped at the end."""
    path = Path(tempfile.mkdtemp(prefix="leadsman-tests-"))

    def clean() -> None:
        load_local("stack").stop(path, grace_s=3)
        shutil.rmtree(path, ignore_errors=True)

    atexit.register(clean)  # for the ways out that run no fixture's end
    before = signal.signal(signal.SIGTERM, _interrupt)
    yield path
    signal.signal(signal.SIGTERM, before)
    clean()
    atexit.unregister(clean)


def _interrupt(*_: object) -> None:
    """Let a SIGTERM end the session as ctrl-C does, fixtures and all."""
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def stack(run_dir: Path) -> Any:
    """Give the running Kafka and Redis: .bootstrap, .redis_url, .kafka_pid, .redis_pid, .env(). No topics yet.

    LEADSMAN_TEST_KAFKA=HOST:PORT names a broker that runs already (`make up`), so that a run need not wait for one.
    """
    if given := os.environ.get("LEADSMAN_TEST_KAFKA"):
        return SharedBroker(given, load_local("redis_server").start(run_dir, port=None, tie_to_parent=True))
    return load_local("stack").start(run_dir, create_topics=False, tie_to_parent=True)


class SharedBroker:
    """A Redis of this session and a broker that others use too, which no test may stop."""

    def __init__(self, bootstrap: str, redis: Any) -> None:
        self.bootstrap = bootstrap
        self.redis_pid = redis.pid
        self.redis_url = load_local("redis_server").url(redis.port)

    @property
    def kafka_pid(self) -> int:
        pytest.fail("this test stops its broker: run it with LEADSMAN_TEST_KAFKA= (empty)", pytrace=False)

    def env(self) -> dict[str, str]:
        return {"LEADSMAN_KAFKA_BOOTSTRAP": self.bootstrap, "LEADSMAN_REDIS_URL": self.redis_url}


@pytest.fixture(scope="session")
def bootstrap(stack: Any) -> str:
    """Give Kafka's bootstrap address."""
    return stack.bootstrap


@pytest.fixture
def redis_url(stack: Any) -> Iterator[str]:
    """Give the URL of a Redis database that is empty at the test's start."""
    import redis

    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushdb()
        client.script_flush()
        yield stack.redis_url


@pytest.fixture(scope="session")
def moto_endpoint(run_dir: Path) -> str:
    """Give the endpoint URL of the AWS stand-in; its state lives as long as the session."""
    return load_local("emulators").start_moto(run_dir, tie_to_parent=True)


@pytest.fixture(scope="session")
def pubsub_emulator(run_dir: Path) -> str:
    """Give what PUBSUB_EMULATOR_HOST takes; skips where the stand-in cannot be built."""
    return _or_skip(*load_local("emulators").start_pstest(run_dir, tie_to_parent=True))


@pytest.fixture(scope="session")
def schema_registry(run_dir: Path) -> Any:
    """Give the running schema registry: .port; local("schema_registry").url(port) is its Confluent API."""
    return load_local("schema_registry").start(run_dir, tie_to_parent=True)


@pytest.fixture(scope="session")
def gcs_emulator(run_dir: Path) -> str:
    """Give what STORAGE_EMULATOR_HOST takes; skips where the stand-in cannot be built."""
    return _or_skip(*load_local("emulators").start_gcs(run_dir, tie_to_parent=True))


def _or_skip(address: str | None, reason: str) -> str:
    """The address of a stand-in, where it could be built."""
    if address is None:
        pytest.skip(reason)
    return address


@pytest.fixture
def topic_prefix() -> str:
    """Give a LEADSMAN_TOPIC_PREFIX that no other test has."""
    return f"t{secrets.token_hex(4)}-"


@pytest.fixture
def topics(request: pytest.FixtureRequest, bootstrap: str, topic_prefix: str) -> Iterator[dict[str, str]]:
    """Create every topic under the test's prefix, and delete them after; gives name -> name on the broker.

    Three partitions at most; `@pytest.mark.parametrize("topics", [1], indirect=True)` asks for another number.
    """
    from leadsman_common import topics as declared

    wanted = declared.load(REPO / "schemas" / "topics")
    names = {base: declared.name(base, topic_prefix) for base in wanted}
    declared.create(bootstrap, wanted.values(), topic_prefix, max_partitions=getattr(request, "param", 3))
    yield names
    declared.delete(bootstrap, names.values())


# --- files -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Give the folder of real audit logs with verdicts, beside the repository; LEADSMAN_CORPORA names another."""
    path = Path(os.environ.get("LEADSMAN_CORPORA") or REPO.parent / "shared" / "corpora")
    if not path.is_dir():
        pytest.skip(CORPORA_ABSENT)
    return path


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path | str, str], None]:
    """Give `golden(path, text)`: text must equal that file (relative paths: tests/golden), or is written to it."""
    write = request.config.getoption("--golden-write")

    def check(path: Path | str, text: str) -> None:
        file = REPO / "tests" / "golden" / path
        if write:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        if not file.exists():
            pytest.fail(f"{file} does not exist; `make golden` writes it", pytrace=False)
        expected = file.read_text(encoding="utf-8")
        if text != expected:
            lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), str(path), "now", lineterm="")
            pytest.fail("\n".join([*lines, "`make golden` rewrites it; read the diff"]), pytrace=False)

    return check
