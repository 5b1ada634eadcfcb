"""The detector's shell put together: settings to a runner, a handler, and what is closed in the end."""

from __future__ import annotations

from pathlib import Path

from leadsman_common.kafka import AckedProducer, BadRecordCap
from leadsman_common.settings import SettingError
from leadsman_common.topics import name as topic_name
from leadsman_detector.config import Settings
from leadsman_detector.detect import Detector
from leadsman_detector.handler import BatchHandler
from leadsman_detector.match import RuleSet, load
from leadsman_detector.reload import RulesWatch
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.runner import Handler, Runner, Source
from leadsman_detector.state_redis import RedisState, connect


def rules_folders(settings: Settings) -> list[Path]:
    """The folders of LEADSMAN_RULES_DIR, or the one that comes with the detector."""
    return [Path(folder) for folder in settings.rules_dir] or [default_rules_dir()]


def load_rules(settings: Settings) -> RuleSet:
    """The rules of these folders."""
    return load(rules_folders(settings))


def make_handler(
    settings: Settings, rules: RuleSet, producer: AckedProducer, watch: RulesWatch | None = None
) -> Handler:
    """What handles each batch. It connects to Redis at the first request, on the loop that runs it."""
    namespace = f"{settings.topic_prefix}{settings.state_namespace}"
    return BatchHandler(
        Detector(rules),
        RedisState(connect(settings.redis_url, cluster=settings.redis_cluster), namespace),
        producer,
        topic_name("alerts", settings.topic_prefix),
        BadRecordCap(settings.max_bad_in_a_row),
        new_rules=watch.take if watch else None,
    )


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
