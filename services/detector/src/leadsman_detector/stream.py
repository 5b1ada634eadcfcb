"""The detector's shell put together: settings to a runner, a handler, and what is closed in the end."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from leadsman_common.alerts import Alert
from leadsman_common.kafka import AckedProducer, BadRecordCap
from leadsman_common.ledger import Ledger
from leadsman_common.metrics import STATE_REBUILDS, failed
from leadsman_common.settings import SettingError
from leadsman_common.topics import name as topic_name
from leadsman_common.wire import Wire, alert_wire
from leadsman_detector.config import Settings
from leadsman_detector.detect import Detector
from leadsman_detector.guard import Guard
from leadsman_detector.handler import SERVICE, BatchHandler
from leadsman_detector.match import RuleSet, load
from leadsman_detector.rebuild import GroupReader, Rebuild, bounds
from leadsman_detector.reload import RulesWatch
from leadsman_detector.renew import renew
from leadsman_detector.rules import default_rules_dir, folder_of
from leadsman_detector.runner import Runner, Source
from leadsman_detector.state_redis import RedisState, connect
from leadsman_detector.state_topic import Topics

_log = structlog.get_logger()


def rules_folders(settings: Settings) -> list[Path]:
    """The folders of LEADSMAN_RULES_DIR, or the one that comes with the detector."""
    return [folder_of(folder) for folder in settings.rules_dir] or [default_rules_dir()]


def load_rules(settings: Settings) -> RuleSet:
    """The rules of these folders."""
    return load(rules_folders(settings), clusters=settings.registry())


def make_handler(
    settings: Settings,
    rules: RuleSet,
    producer: AckedProducer,
    watch: RulesWatch | None = None,
    wire: Wire[Alert] | None = None,
) -> BatchHandler:
    """What handles each batch. It connects to Redis at the first request, on the loop that runs it."""
    source, topics = source_of(settings), topics_of(settings)

    def rebuild() -> None:
        asyncio.run(_rebuild(settings, watch.in_force if watch else rules))

    def renew_state() -> None:
        try:
            renew(source, topics.state, time.time_ns() // 1_000_000)
        except Exception:  # noqa: BLE001 - a broken Kafka, and whatever else: there are weeks left
            failed("kafka")
            _log.exception("the topic of the state could not be renewed; it is tried again tomorrow")

    return BatchHandler(
        make_detector(settings, rules),
        Guard(
            make_state(settings),
            rebuild,
            wait_s=settings.state_wait_s,
            eviction_allowed=settings.redis_eviction_allowed,
        ),
        producer,
        topics,
        wire or alert_wire(settings),
        BadRecordCap(settings.max_bad_in_a_row),
        bounds=lambda partition: bounds(source, partition),
        reader=GroupReader(source),
        ledger=Ledger(SERVICE, settings.topic_prefix, on=settings.ledger),
        name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        group=source.group,
        rules_reload_s=settings.rules_reload_s,
        new_rules=watch.take if watch else None,
        renew=renew_state,
    )


def make_detector(settings: Settings, rules: RuleSet, *, keeping: bool = False) -> Detector:
    """The core, as the settings have it."""
    return Detector(rules, baseline_ms=int(settings.baseline_h * 3_600_000), keeping=keeping, posture=True)


def make_state(settings: Settings) -> RedisState:
    """The state in Redis, not connected yet."""
    namespace = f"{settings.topic_prefix}{settings.state_namespace}"
    client = connect(settings.redis_url, cluster=settings.redis_cluster)
    return RedisState(client, namespace, groups=settings.state_groups)


def topics_of(settings: Settings) -> Topics:
    """The topics that are read and written."""
    bases = ("audit.events", "alerts", "state", "alerts.shadow")
    return Topics(*(topic_name(base, settings.topic_prefix) for base in bases))


def refuse_eviction(settings: Settings) -> None:
    """Raise SettingError where Redis answers and would evict. One that is away is asked when it answers."""

    async def look() -> str:
        state = make_state(settings)
        try:
            return await state.eviction()
        finally:
            await state.close()

    try:
        complaint = asyncio.run(look())
    except (RedisError, OSError) as error:
        _log.warning("Redis does not answer yet", reason=str(error))
        return
    if complaint and not settings.redis_eviction_allowed:
        raise SettingError(complaint)


async def _rebuild(settings: Settings, rules: RuleSet) -> None:
    """Rebuild the state, or leave it to another worker. What is wrong is logged: it is tried again."""
    state = make_state(settings)
    history_ms = int(settings.state_history_h * 3_600_000)
    try:
        await Rebuild(
            state, make_detector(settings, rules, keeping=True), source_of(settings), topics_of(settings), history_ms
        ).run()
    except Exception:  # noqa: BLE001 - a broken Kafka or Redis, and whatever else: the guard asks for it anew
        STATE_REBUILDS.labels("failed").inc()
        _log.exception("the state could not be rebuilt; it is tried again")
        await asyncio.sleep(1)
    finally:
        await state.close()


def source_of(settings: Settings) -> Source:
    """What is read, and how."""
    return Source(
        bootstrap=settings.kafka_bootstrap,
        topic=topic_name("audit.events", settings.topic_prefix),
        group=f"{settings.topic_prefix}{settings.group}",
        data_dir=settings.data_dir,
        kafka_options=settings.kafka_options,
        batch=settings.batch,
        fetch_wait_ms=settings.fetch_wait_ms,
        session_timeout_s=settings.session_timeout_s,
        stall_s=settings.stall_s,
        stall_exit_s=settings.stall_exit_s,
    )


def make_runner(name: str, source: Source) -> Runner:
    """The runner of that name, faust or plain; each imports its client only when it is chosen."""
    if name == "faust":
        from leadsman_detector.runner_faust import FaustRunner  # noqa: PLC0415

        return FaustRunner(source)
    if name == "plain":
        from leadsman_detector.runner_plain import PlainRunner  # noqa: PLC0415

        return PlainRunner(source)
    raise SettingError(f"LEADSMAN_RUNNER={name!r}: faust or plain")
