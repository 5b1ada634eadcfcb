"""Hot reload: a changed folder is loaded whole or refused whole, and put in force between two batches."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from leadsman_detector.documents import files_of
from leadsman_detector.match import load
from leadsman_detector.reload import RulesWatch

RULE = """\
title: A pod was made
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad00{number}
name: pod-made-{number}
level: {level}
logsource: {{product: kubernetes, service: audit}}
detection:
    made: {{verb: create, {field}: pods}}
    condition: made
"""


def write(folder: Path, number=1, level="high", field="objectRef.resource"):
    path = folder / f"pod-made-{number}.yml"
    path.write_text(RULE.format(number=number, level=level, field=field))
    return path


@pytest.fixture
def watch(tmp_path):
    write(tmp_path)
    return RulesWatch([tmp_path], load([tmp_path]), 0, sleep=lambda _s: None)


def reloads(result):
    return REGISTRY.get_sample_value("leadsman_rules_reloads_total", {"result": result}) or 0


def in_force():
    (digest,) = [s.labels["digest"] for m in REGISTRY.collect() for s in m.samples if s.name == "leadsman_rules_info"]
    return digest


def test_nothing_changed_nothing_to_take(watch):
    watch.look()
    assert watch.take() is None


def test_a_changed_folder_is_taken_once_and_told(watch, tmp_path):
    before, loaded = in_force(), reloads("loaded")
    write(tmp_path, 2)
    write(tmp_path, 1, "low")
    watch.look()
    assert in_force() == before  # loaded, and not in force before the next batch
    rules = watch.take()
    assert {r.rule.name: r.rule.level for r in rules.rules} == {"pod-made-1": "low", "pod-made-2": "high"}
    assert watch.take() is None
    assert in_force() == rules.digest != before
    assert reloads("loaded") == loaded + 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: write(folder, 2, field="no.such.field"),
        lambda folder: write(folder, 2, "loud"),
        lambda folder: (folder / "bad.yml").write_text("title: [\n"),
        lambda folder: (folder / "pod-made-1.yml").unlink(),
    ],
    ids=["field", "level", "yaml", "empty"],
)
def test_one_fatal_problem_refuses_all_of_it(watch, tmp_path, spoil):
    refused = reloads("refused")
    spoil(tmp_path)
    watch.look()
    assert watch.take() is None
    assert reloads("refused") == refused + 1
    watch.look()
    assert reloads("refused") == refused + 1  # once for each state of the folder


def test_a_refused_folder_is_looked_at_again_when_it_changes(watch, tmp_path):
    write(tmp_path, 2, field="no.such.field")
    watch.look()
    write(tmp_path, 2, field="objectRef.resource")
    watch.look()
    assert len(watch.take().rules) == 2


def test_a_folder_being_written_is_left_until_it_stands_still(tmp_path):
    write(tmp_path)
    waits = []

    def sleep(_seconds):
        waits.append(1)
        if len(waits) < 3:
            write(tmp_path, len(waits) + 2)

    watch = RulesWatch([tmp_path], load([tmp_path]), 0, sleep=sleep)
    write(tmp_path, 2)
    watch.look()
    assert len(waits) == 3
    assert len(watch.take().rules) == 4


def test_touched_files_with_the_same_text_are_no_change(watch, tmp_path):
    os.utime(tmp_path / "pod-made-1.yml", ns=(1, 1))
    watch.look()
    assert watch.take() is None


def test_a_folder_that_is_gone_is_refused(watch, tmp_path):
    refused = reloads("refused")
    (tmp_path / "pod-made-1.yml").unlink()
    tmp_path.rmdir()
    watch.look()
    assert watch.take() is None
    assert reloads("refused") == refused + 1


def test_a_mounted_config_map_holds_each_file_once(tmp_path):
    """Kubelet writes ..TIME/FILE, ..data -> ..TIME and FILE -> ..data/FILE, and swaps ..data."""
    for version in ("..2026_1", "..2026_2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version, level="low" if version == "..2026_2" else "high")
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "pod-made-1.yml").symlink_to("..data/pod-made-1.yml")
    assert [name for name, _ in files_of([tmp_path])] == ["pod-made-1.yml"]
    watch = RulesWatch([tmp_path], load([tmp_path]), 0, sleep=lambda _s: None)
    (tmp_path / "..data_tmp").symlink_to("..2026_2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    watch.look()
    assert [r.rule.level for r in watch.take().rules] == ["low"]


def test_the_thread_looks_and_ends(tmp_path):
    write(tmp_path)
    with RulesWatch([tmp_path], load([tmp_path]), 0.01, sleep=lambda _s: None) as watch:
        write(tmp_path, 2)
        until = time.monotonic() + 10
        while (rules := watch.take()) is None and time.monotonic() < until:
            time.sleep(0.01)
        assert len(rules.rules) == 2
    assert not watch._thread.is_alive()
