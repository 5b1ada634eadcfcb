"""Commands, terminals and ports opened in pods: the query of the request, or GKE's label (FORMATS 1 and 3.1)."""

from __future__ import annotations

import shlex
from posixpath import normpath
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

from leadsman_common.events import ExecFacts
from leadsman_normalizer.facts.commands import command_text, is_shell
from leadsman_normalizer.redact import mask_words

STREAMS = frozenset({"exec", "attach", "portforward"})
_KUBELET = {
    "run": "kubelet_run",
    "exec": "kubelet_exec",
    "attach": "kubelet_attach",
    "portforward": "kubelet_portforward",
}
MAX_WORDS = 1000


def exec_facts(
    verb: str,
    resource: str,
    subresource: str,
    namespace: str,
    name: str,
    uri: str,
    gke_command: str,
    options: Any = None,
) -> ExecFacts | None:
    """The facts of a request to pods/exec, attach, portforward, or to a kubelet's run and exec behind nodes/proxy.

    `uri` is the request URI with its query (native) or a path; `gke_command` the label command.gke.io/command;
    `options` the body, where a record has PodExecOptions in place of the query.
    """
    path, _, query = uri.partition("?")
    pairs = [*_pairs(query), *_pairs_of(options)]
    if resource == "pods" and subresource in STREAMS and verb in ("create", "get"):
        return _facts(subresource, verb, pairs, gke_command, namespace, name, "")
    if resource == "nodes" and subresource == "proxy":
        kind, where = _kubelet(path)
        if kind:
            pod_namespace, pod, container = where
            return _facts(kind, verb, pairs, gke_command, pod_namespace, pod, container)
    return None


def _facts(
    kind: str, verb: str, pairs: list[tuple[str, str]], gke_command: str, namespace: str, pod: str, container: str
) -> ExecFacts:
    argv = [value for key, value in pairs if key in ("command", "cmd")]
    if len(argv) == 1 and kind == "kubelet_run":
        argv = argv[0].split()  # /run/NS/POD/CONTAINER?cmd=a b: the kubelet splits on spaces
    if not argv and gke_command:
        argv = _split(gke_command)
    said = dict(reversed(pairs))  # of a key that is sent twice the server takes the first
    named = [value for key, value in pairs if key == "container" and value]  # kubectl may send an empty one too
    stdin, tty = _true(said, "stdin", "input"), _true(said, "tty")
    return {
        "kind": kind,
        "argv": mask_words(argv[:MAX_WORDS]),
        "command_text": command_text(argv),
        "container": named[0] if named else container,
        "stdin": stdin,
        "stdout": _true(said, "stdout", "output"),
        "stderr": _true(said, "stderr", "error"),
        "tty": tty,
        "transport": "ws" if verb == "get" else "post",
        "interactive": bool(argv) and stdin and tty and is_shell(argv[0]),
        "pod": pod,
        "namespace": namespace,
    }


def _kubelet(path: str) -> tuple[str, tuple[str, str, str]]:
    """The kubelet's handler and (namespace, pod, container) in /api/v1/nodes/N/proxy/run/NS/POD/CONTAINER.

    The server decodes the path before it hands it on, and the kubelet cleans it.
    """
    _, found, rest = unquote(path).partition("/proxy/")
    parts = [part for part in normpath("/" + rest).split("/") if part] if found else []
    if len(parts) > 1 and parts[0].lower() == "cri":  # the runtime's own stream: /cri/exec/TOKEN
        return _KUBELET.get(parts[1].lower(), ""), ("", "", "")
    kind = _KUBELET.get(parts[0].lower(), "") if parts else ""
    named = (*parts[1:], "", "", "", "")
    # with a pod's uid between pod and container: /exec/NS/POD/UID/CONTAINER
    container = parts[4] if len(parts) == 5 else named[2]
    return kind, (named[0], named[1], container)


def _pairs(query: str) -> list[tuple[str, str]]:
    """The query's parameters in order, decoded once, as the server does; blanks kept.

    All of them: a bound on their number would be a way to hide the command. The record bounds their length.
    """
    return parse_qsl(query, keep_blank_values=True)


def _pairs_of(options: Any) -> list[tuple[str, str]]:
    """PodExecOptions as the parameters that they are made of."""
    if not isinstance(options, dict):
        return []
    command = options.get("command")
    pairs = [("command", word) for word in command if isinstance(word, str)] if isinstance(command, list) else []
    pairs += [(key, "true") for key in ("stdin", "stdout", "stderr", "tty") if options.get(key) is True]
    container = options.get("container")
    return [*pairs, ("container", container)] if isinstance(container, str) else pairs


def _split(command: str) -> list[str]:
    """GKE's one string as words: quoting as far as it is sound, else spaces; a continued line is one line."""
    command = command.replace("\\\n", " ")
    if " " not in command and ("%" in command or "+" in command):
        command = unquote_plus(command)  # no lab has shown how the label is written: an encoded one is read too
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _true(said: dict[str, str], *keys: str) -> bool:
    """A boolean of the query as the server reads it: all but `false` and `0` is true.

    Convert_Slice_string_To_bool of k8s.io/apimachinery: the empty text is true as well.
    """
    return any(key in said and said[key].lower() not in ("false", "0") for key in keys)
