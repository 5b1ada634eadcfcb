"""One container of any of the three lists: image, commands, powers (DETECTIONS 1.6, R1, R2, R10)."""

from __future__ import annotations

import re

from leadsman_common.events import ContainerFacts, ContainerPort, Hook
from leadsman_normalizer.facts.commands import TOO_LONG, is_too_long, join_texts, readings
from leadsman_normalizer.facts.images import parse_image
from leadsman_normalizer.facts.values import Tree, mapping, mappings, number, port, text, texts, truth
from leadsman_normalizer.facts.volumes import mounts
from leadsman_normalizer.lenient import note
from leadsman_normalizer.redact import is_secret_name, mask, mask_words

_HOOKS = ("postStart", "preStop")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_REFERENCE = re.compile(r"\$\(([A-Za-z_][\w.-]*)\)|\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)")
# env values travel only where they are what a miner is told (DETECTIONS R1 D)
_MINING = re.compile(
    r"(?i)stratum2?\+(?:tcp|ssl|tls|udp)://\S{0,200}"
    r"|--donate-level\S{0,8}|--coin[= ]\S{0,20}|(?:-a|--algo)[ =](?:cryptonight|randomx|rx/|cn/)\S{0,20}"
    r"|--randomx-\S{0,40}|--cpu-max-threads-hint\S{0,8}|\b(?-i:[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93})\b"
    # the pools of rules/lists/mining-pools.yml; a test holds the two together
    r"|\b(?:[a-z0-9-]{1,63}\.){0,3}(?:nanopool|ethermine|nicehash|moneroocean|c3pool|minexmr|unmineable|antpool"
    r"|slushpool|supportxmr|moneropool|xmrpool|crypto-pool|monerohash|minergate|dwarfpool|hashvault|2miners|f2pool"
    r"|herominers|xmrig)\.[a-z]{2,6}(?::\d+)?"
)
MAX_CONTAINERS = 100
MAX_ITEMS = 500
MAX_WORDS_TEXT = 4 * 1024


def container_facts(which: str, container: Tree, annotations: dict[str, str], why: list[str]) -> ContainerFacts:
    """A container as facts. `which` is main, init or ephemeral; `annotations` are the pod's (AppArmor stood there)."""
    name = text(container, "name", why)
    raw = text(container, "image", why)
    image = parse_image(raw)
    command, args = texts(container, "command", why), texts(container, "args", why)
    script = text(container, "script", why) or text(container, "source", why)  # Tekton steps, Argo scripts
    hooks = _hooks(container, why)
    env = _env(container, why)
    security = mapping(container, "securityContext", why)
    capabilities = mapping(security, "capabilities", why)
    return {
        "list": which,
        "name": name,
        "image_raw": raw[:2048],
        "image_host": image.host,
        "image_repo": image.repo,
        "image_suffix": image.suffix,
        "image_name": image.name,
        "tag": image.tag,
        "digest": image.digest,
        "command": _bounded(mask_words(command)),
        "args": _bounded(mask_words(args)),
        "hooks": [{"which": hook["which"], "argv": _bounded(mask_words(hook["argv"]))} for hook in hooks],
        "command_text": _command_text([*command, *args], script, hooks, env, why),
        "privileged": truth(security, "privileged", why) or False,
        "allow_priv_esc": truth(security, "allowPrivilegeEscalation", why),
        "run_as_user": number(security, "runAsUser", why),
        "caps_add": _capabilities(capabilities, "add", why),
        "caps_drop": _capabilities(capabilities, "drop", why),
        "proc_mount": text(security, "procMount", why),
        "seccomp": text(mapping(security, "seccompProfile", why), "type", why),
        "apparmor": text(mapping(security, "appArmorProfile", why), "type", why) or _old_apparmor(annotations, name),
        "host_process": truth(mapping(security, "windowsOptions", why), "hostProcess", why) or False,
        "ports": [
            _port(found, why) for found in mappings(container, "ports", why)[:MAX_ITEMS] if "$patch" not in found
        ],
        "mounts": mounts(container, why),
        "env_refs": sorted(env)[:MAX_ITEMS],
    }


def _command_text(argv: list[str], script: str, hooks: list[Hook], env: dict[str, str], why: list[str]) -> str:
    commands = [_expanded(argv, env), ["sh", "-c", script] if script else []]
    commands += [_expanded(hook["argv"], env) for hook in hooks]
    if any(is_too_long(words) for words in commands):
        note(why, TOO_LONG)
    settings = [
        f"env {name}={mask(hit.group())}" for name, value in env.items() for hit in _MINING.finditer(value[:4096])
    ]
    return join_texts([*(readings(words) for words in commands), settings])


def _expanded(argv: list[str], env: dict[str, str]) -> list[str]:
    """The words with $(VAR), ${VAR} and $VAR replaced, where the variable holds a command rather than a secret."""
    if not env or not any("$" in word for word in argv):
        return argv

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[3]
        said = env.get(name, "")
        hides = re.search(r"[\s/|;&]", said) is not None and not is_secret_name(name)
        return said if hides else found[0]

    return [_REFERENCE.sub(value, word)[: 16 * 1024] for word in argv]


def _env(container: Tree, why: list[str]) -> dict[str, str]:
    """Names of the environment, and the literal values, which stay in this module."""
    names = [(text(e, "name", why), e.get("value")) for e in mappings(container, "env", why)]
    return {name: value[:4096] if isinstance(value, str) else "" for name, value in names if name}


def _hooks(container: Tree, why: list[str]) -> list[Hook]:
    lifecycle = mapping(container, "lifecycle", why)
    found = [(which, mapping(lifecycle, which, why)) for which in _HOOKS]
    found += [(which, mapping(container, which, why)) for which in _PROBES]
    pairs = [(which, texts(mapping(handler, "exec", why), "command", why)) for which, handler in found if handler]
    return [{"which": which, "argv": argv} for which, argv in pairs if argv]


def _capabilities(capabilities: Tree, key: str, why: list[str]) -> list[str]:
    return [name.upper().removeprefix("CAP_") for name in texts(capabilities, key, why)]


def _port(found: Tree, why: list[str]) -> ContainerPort:
    return {
        "container": port(found, "containerPort", why),
        "host": port(found, "hostPort", why),
        "proto": text(found, "protocol", why) or "TCP",
    }


def _bounded(words: list[str]) -> list[str]:
    """The words as far as 4 KiB go; all of them are in command_text, which has its own bound."""
    kept: list[str] = []
    left = MAX_WORDS_TEXT
    for word in words:
        if left <= 0:
            break
        kept.append(word[:left])
        left -= len(word) + 1
    return kept


def _old_apparmor(annotations: dict[str, str], name: str) -> str:
    """The profile in the annotation that servers before 1.30 read, in the new field's words."""
    profile = annotations.get(f"container.apparmor.security.beta.kubernetes.io/{name}", "")
    return {"unconfined": "Unconfined", "runtime/default": "RuntimeDefault"}.get(
        profile, "Localhost" if profile else ""
    )
