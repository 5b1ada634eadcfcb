"""The Helm chart as tests see it: rendered by a real helm for a set of values, as decoded objects."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).parents[2]
CHART = REPO / "deploy" / "helm" / "leadsman"
SETS = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
OLDEST, NEWEST = "1.27.0", "1.37.0"


def helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm: of PATH, else where kube-here builds it."""
    built = Path(os.environ.get("KUBE_HERE") or Path.home() / ".cache" / "kube-here") / "bin" / "helm"
    binary = shutil.which("helm") or str(built)
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert not check or not done.returncode, done.stderr
    return done


def template(*arguments: str, chart: Path = CHART, release: str = "rel", check: bool = True) -> Any:
    """`helm template` for the newest Kubernetes: the objects, or the run itself where `check` is false."""
    done = helm("template", release, str(chart), "--kube-version", NEWEST, *arguments, check=check)
    return objects(done.stdout) if check else done


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a stream of YAML documents. A key that stands twice is an error."""
    return [document for document in yaml.load_all(text, _Strict) if document]


def of_kind(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [one for one in found if one["kind"] == kind]


def pods(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each pod, and each pod template as a Pod with a name of its own."""
    for one in found:
        if one["kind"] == "Pod":
            yield one
        elif one["kind"] in ("Deployment", "Job", "CronJob"):
            spec = one["spec"]
            template_ = (spec["jobTemplate"]["spec"] if one["kind"] == "CronJob" else spec)["template"]
            metadata = {**template_["metadata"], "name": f"{one['metadata']['name']}-pod"}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template_["spec"]}


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
