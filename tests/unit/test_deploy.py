"""What the images and docker compose promise, as far as their files say it; tests/compose/run.sh runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]
BASES = {"debian:bookworm-slim", "python:3.11-slim", "redis:7", "apache/kafka:4.3.1"}
WATCHING = {"prom/prometheus", "prom/alertmanager", "grafana/grafana"}  # profiles of their own
COMPOSE = yaml.safe_load((REPO / "deploy" / "compose" / "compose.yaml").read_text())
LOCKS = sorted([REPO / "cli" / "requirements.lock", *REPO.glob("services/*/requirements.lock")])
PIN = re.compile(r"^(?P<pin>[a-z0-9._-]+==[^ ;]+)", re.MULTILINE)


def pins(path):
    return set(PIN.findall(path.read_text()))


def test_each_image_has_its_own_lock():
    assert {p.parent.name for p in LOCKS} == {"cli", *(p.name for p in (REPO / "services").iterdir() if p.is_dir())}


@pytest.mark.parametrize(
    "path",
    [*LOCKS, REPO / "requirements-build.lock", REPO / "deploy" / "compose" / "requirements-demo.lock"],
    ids=lambda p: str(p.relative_to(REPO)),
)
def test_a_lock_is_a_part_of_the_whole_with_hashes_and_no_address(path):
    assert pins(path)
    assert pins(path) <= pins(REPO / "requirements.lock")
    assert path.read_text().count("--hash=sha256:") >= len(pins(path))
    assert "://" not in path.read_text()


def test_base_images():
    text = (REPO / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages
    ours = re.compile(r"leadsman/[a-z0-9-]+:\$\{LEADSMAN_VERSION:-dev\}")
    named = {s["image"] for s in COMPOSE["services"].values() if s["image"].partition(":")[0] not in WATCHING}
    assert bases | {image for image in named if not ours.fullmatch(image)} <= BASES
    assert {name.partition("/")[2].partition(":")[0] for name in named if ours.fullmatch(name)} <= stages
    assert "# syntax=" not in text


def test_what_watches_is_a_profile_with_a_version():
    watching = [s for s in COMPOSE["services"].values() if s["image"].partition(":")[0] in WATCHING]
    assert len(watching) == len(WATCHING)
    for service in watching:
        assert service["profiles"]
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])


def test_every_service_has_an_image_a_container_and_is_scraped():
    services = {path.parent.name for path in REPO.glob("services/*/pyproject.toml")}
    targets = set(re.findall(r"^FROM runtime AS (\S+)", (REPO / "Dockerfile").read_text(), re.MULTILINE))
    assert services | {"cli", "demo"} == targets
    assert services <= COMPOSE["services"].keys()
    prometheus = yaml.safe_load((REPO / "deploy" / "compose" / "prometheus.yaml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert set(job["dns_sd_configs"][0]["names"]) == services


def test_what_compose_mounts_is_there():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (REPO / "deploy" / "compose" / source).exists()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_no_more_than_it_needs(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["healthcheck"]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_only_the_detector_has_redis():
    with_redis = {
        name
        for name, service in COMPOSE["services"].items()
        if "LEADSMAN_REDIS_URL" in service.get("environment", {}) or "redis" in service.get("depends_on", {})
    }
    assert with_redis == {"detector"}
    assert {p.parent.name for p in LOCKS if any(pin.startswith("redis==") for pin in pins(p))} == {"cli", "detector"}


def test_the_example_of_settings_names_every_one():
    asked = set(re.findall(r"\$\{(\w+):", (REPO / "deploy" / "compose" / "compose.yaml").read_text()))
    shown = set(re.findall(r"^#(\w+)=", (REPO / "deploy" / "compose" / ".env.example").read_text(), re.MULTILINE))
    assert shown == asked
