"""Secrets never travel: what is masked in text, and what is cut out of objects, all in one place (FORMATS 7).

On the way of everything that leaves the normalizer: commands, URLs, annotations, bodies. A masked value never holds
what a shell would act on ($, `, ;, |, quotes): else an attacker could hide a command in a "password".
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote_plus

import msgspec

MASK = "***"
MAX_OBJECT_BYTES = 64 * 1024
SHORT = 128
_VALUE = r"[^\s\"'`$;|&<>(){}\\,*][^\s\"'`$;|&<>(){}\\,]*"
_CONFIDENTIAL = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secrets?|(?:auth|access|api|id|refresh|session|bearer)?[-_.]?token"
    r"|(?:api|access|secret|private|auth|account|client|signing|encryption)[-_.]?(?:key|secret)(?:[-_.]?id)?|credentials?)"
)
# what may stand in front of it, bounded: a client chooses the text, and an open repetition would cost its square
_WORDS = r"(?:[a-z0-9]{1,40}[-_.]){0,8}"
_LOUD = r"[A-Z0-9_]{0,64}"
# a quote, also one that is itself inside of a quoted text
_QUOTE = r"(?:\\{0,3}[\"'])"
# what a client of these takes a password by
_GLUED_P = frozenset({"mysql", "mysqldump", "mysqladmin", "mariadb"})
_APART = {"redis-cli": "-a", "sshpass": "-p", "login": "-p", "mongo": "-p", "mongosh": "-p", "mongodump": "-p"}
# a passphrase: words, none of them an option or a path, so that no command is hidden by it
_PHRASE = r"[^\s\"'`$;|&<>(){}\\*/-][^\s\"'`$;|&<>(){}\\*/]*(?: [^\s\"'`$;|&<>(){}\\*/-][^\s\"'`$;|&<>(){}\\*/]*){1,15}"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Authorization: x, Authorization: ApiKey x
    (
        re.compile(rf"(?i)(\bauthorization{_QUOTE}?\s?[:=]\s?{_QUOTE}?(?:[a-z][\w-]{{0,20}}\s++(?=\S))?+)(?:{_VALUE})"),
        r"\1" + MASK,
    ),
    # Cookie: a=x; b=y
    (
        re.compile(
            rf"(?i)(\bcookie\s?:\s?)[^\s\"'`$;|&<>(){{}}=]{{1,64}}=(?:{_VALUE})"
            rf"(?:; ?[^\s\"'`$;|&<>(){{}}=]{{1,64}}=(?:{_VALUE})){{0,32}}"
        ),
        r"\1" + MASK,
    ),
    # signed URLs: S3 and GCS, Azure's SAS
    (re.compile(rf"(?i)([?&](?:x-(?:amz|goog)-)?sig(?:nature)?=)(?:{_VALUE})"), r"\1" + MASK),
    # docker login -p x, redis-cli -a x, sshpass -p x
    (
        re.compile(rf"(\b(?:login|mongo(?:sh|dump)?)\b[^\n;|&]{{0,200}}?\s-p[ =]?[\"']?)(?:{_VALUE})"),
        r"\1" + MASK,
    ),
    (re.compile(rf"(\bredis-cli\b[^\n;|&]{{0,200}}?\s-a ?[\"']?)(?:{_VALUE})"), r"\1" + MASK),
    (re.compile(rf"(\bsshpass\s{{1,8}}-p\s{{0,8}}[\"']?)(?:{_VALUE})"), r"\1" + MASK),
    # aws configure set aws_secret_access_key x
    (
        re.compile(rf"(\b(?:[\w-]{{1,64}}\.)?aws_(?:secret_access_key|session_token)\s{{1,8}}[\"']?)(?:{_VALUE})"),
        r"\1" + MASK,
    ),
    # Authorization: Bearer x, Basic x, token x
    (re.compile(r"(?i)\b(bearer|basic)(\s+|%20|\+)[a-z0-9._~+/=-]{6,}"), r"\1\2" + MASK),
    # https://user:password@host
    (
        re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://[^\s/:@\"'`$;|&<>]{0,256}:)[^\s/@\"'`$;|&<>]{1,256}@"),
        r"\1" + MASK + "@",
    ),
    # --password=x, --api-key x, -token x
    (
        re.compile(rf"(?i)((?:^|\s)--?{_WORDS}{_CONFIDENTIAL}(?:=|\s+)[\"']?)(?!-)(?:{_VALUE})"),
        r"\1" + MASK,
    ),
    # DB_PASSWORD=x, ?token=x, password: x, "password":"x"
    (
        re.compile(rf"(?i)(\b{_WORDS}{_CONFIDENTIAL}{_QUOTE}?\s?[=:]\s?{_QUOTE}?)(?:{_VALUE})"),
        r"\1" + MASK,
    ),
    # "adminPassword": "x"
    (
        re.compile(
            rf"(\b[A-Za-z0-9]{{1,40}}(?:Password|Secret|Token|(?:Access|Api|Private|Secret)Key){_QUOTE}?\s?[=:]\s?{_QUOTE}?)"
            rf"(?:{_VALUE})"
        ),
        r"\1" + MASK,
    ),
    # PGPASSWORD=x and the like, where the word is glued to another
    (
        re.compile(rf"(\b{_LOUD}(?:PASSWORD|PASSWD|SECRET|TOKEN|_PASS|_KEY){_LOUD}=[\"']?)(?:{_VALUE})"),
        r"\1" + MASK,
    ),
    # curl -u user:password
    (re.compile(r"(?i)((?:^|\s)(?:-u|--user)[ =]?[\"']?[^\s:\"'`$;|&<>]{1,64}:)[^\s\"'`$;|&<>]+"), r"\1" + MASK),
    # mysql -psecret
    (re.compile(r"(\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n;|&]{0,200}?\s-p)[^\s\"'`$;|&<>]+"), r"\1" + MASK),
    # JSON web tokens, well-known key shapes, bootstrap tokens
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), MASK),
    (
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|glpat-[\w-]{16,}"
            r"|AIza[\w-]{30,}|sk_live_\w{16,}|hvs\.[\w-]{20,}|ya29\.[\w-]{20,})"
        ),
        MASK,
    ),
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), MASK),
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]++|-(?!----END))*+"
            r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
        ),
        MASK,
    ),
)
# what a text must hold for any of the patterns to match it, in lower case
_HINTS = (
    *("pass", "pwd", "secret", "token", "key", "credential", "bearer", "basic", "authorization", "cookie", "login"),
    *(
        "redis-cli",
        "sig=",
        "signature",
        "base64",
        "-u",
        "-p",
        "eyj",
        "github_pat",
        "xox",
        "glpat",
        "aiza",
        "hvs.",
        "ya29",
    ),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
)
_BOOTSTRAP = re.compile(r"(?i)\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_HINT = re.compile(f"(?i){'|'.join(map(re.escape, _HINTS))}|://[^/]*@|{_BOOTSTRAP.pattern.removeprefix('(?i)')}")
_SECRET_NAME = re.compile(rf"(?i)(?:^|[-_.]){_CONFIDENTIAL}(?:$|[-_.])|PASSWORD|PASSWD|SECRET|TOKEN|_KEY$")
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
_SECRET_PARAMETERS = frozenset(
    {"token", "access_token", "id_token", "refresh_token", "password", "api_key", "apikey", "secret"}
    | {"sig", "signature", "x-amz-signature", "x-amz-security-token", "x-goog-signature"}
)
_FLAG = re.compile(rf"(?i)^(?:--?{_WORDS}{_CONFIDENTIAL}|(?:[\w-]{{1,64}}\.)?aws_(?:secret_access_key|session_token))$")
_ONE_WORD = re.compile(rf"[^\s$`;|&<>()]+|{_PHRASE}")
_QUOTED_PHRASE = re.compile(rf"(?i)((?:^|\s)--?{_WORDS}{_CONFIDENTIAL}(?:=|\s))([\"']){_PHRASE}\2")
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_MAX_BLOBS = 8

# annotations that repeat an object, and with it its env and data
_COPIES = frozenset({"kubectl.kubernetes.io/last-applied-configuration", "objectset.rio.cattle.io/applied"})
_DATA = frozenset({"data", "stringData", "binaryData"})
_DROPPED_KEYS = frozenset({"managedFields"})
_SECRET_KEYS = frozenset(
    {"token", "password", "clientSecret", "caBundle", "bearerToken", "dockerconfigjson", ".dockerconfigjson"}
)
# ConfigMaps whose data rules read: who may enter the cluster, and what names resolve to
_OPEN_CONFIGMAPS = frozenset({"aws-auth", "coredns", "kube-dns", "coredns-custom"})


def mask(text: str) -> str:
    """`text` with passwords, tokens and keys masked."""
    return _mask_short(text) if len(text) <= SHORT else _mask(text)


def _may_hold(text: str) -> bool:
    """A cheap look before the patterns: whether one of them might match. Seven times as fast as _HINT itself."""
    if not text.isascii():  # the patterns fold case in ways that lower() does not: a long s is an s
        return _HINT.search(text) is not None
    text = text.lower()
    for hint in _HINTS:  # any() of a generator takes twice as long
        if hint in text:
            return True
    return ("://" in text and "@" in text) or ("." in text and _BOOTSTRAP.search(text) is not None)


def _mask(text: str) -> str:
    if not text or not _may_hold(text):
        return text
    text = mask_phrases(text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return _mask_blobs(text) if "base64" in text.lower() else text


# most text in bodies is short and comes again: field values, names, images
_mask_short = lru_cache(maxsize=16384)(_mask)


def mask_phrases(text: str) -> str:
    """`text` with --password="several words" masked; for a caller that takes the quotes away."""
    return _QUOTED_PHRASE.sub(r"\1\2" + MASK + r"\2", text)


def _mask_blobs(text: str) -> str:
    """Base64 of text that would be masked, in a text that speaks of base64: echo x | base64 -d."""
    for blob in _BLOB.findall(text)[:_MAX_BLOBS]:
        try:
            said = base64.b64decode(blob.replace("-", "+").replace("_", "/") + "=" * (-len(blob) % 4)).decode()
        except (binascii.Error, ValueError):
            continue
        if _mask(said) != said:
            text = text.replace(blob, MASK)
    return text


def mask_words(words: list[str]) -> list[str]:
    """The words of a command, masked one by one; a word after a secret's flag is masked whole."""
    masked: list[str] = []
    glued, apart = False, ""
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        program = posixpath.basename(word)
        glued, apart = glued or program in _GLUED_P, _APART.get(program, apart)
        if before and _is_flag(before, apart) and not word.startswith("-") and _ONE_WORD.fullmatch(word):
            masked.append(MASK)
        elif word.startswith(("-p" if glued else "\0", apart or "\0")) and _ONE_WORD.fullmatch(word[2:]):
            masked.append(word[:2] + MASK)
        elif before in ("-u", "--user") and re.fullmatch(r"[^\s:$`;|&<>()]{1,64}:[^\s$`;|&<>()]+", word):
            masked.append(word.partition(":")[0] + ":" + MASK)
        else:
            masked.append(mask(word))
    return masked


def _is_flag(word: str, apart: str) -> bool:
    return word == apart or _FLAG.match(word) is not None


def mask_uri(uri: str) -> str:
    """A request URI with secrets in its query masked; otherwise as it was sent."""
    path, mark, query = uri.partition("?")
    if not mark or not _may_hold(unquote_plus(query)):
        return uri
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        return f"{path}?"
    words = iter(mask_words([v for k, v in pairs if k == "command"]))
    safe = []
    for key, value in pairs:
        if key == "command":
            value = next(words)  # noqa: PLW2901
        elif key.lower() in _SECRET_PARAMETERS:
            value = MASK  # noqa: PLW2901
        else:
            value = mask(value)  # noqa: PLW2901
        safe.append(f"{quote_plus(key)}={quote_plus(value, safe='/*:')}")
    return path + "?" + "&".join(safe)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret by all custom."""
    return _SECRET_NAME.search(name) is not None


def flag_value(name: str, value: str) -> str:
    """The value of a component's flag, masked; whole where the flag's name ends in a secret's: etcd-password."""
    return MASK if value and _FLAG.match(f"--{name}") else mask(value)


def audit_annotations(found: dict[str, str]) -> dict[str, str]:
    """Audit annotations without noise, without the patches of webhooks (they hold what they patch), and masked."""
    kept: dict[str, str] = {}
    for key, value in found.items():
        if key.startswith("apiserver.latency.k8s.io/"):
            continue
        if key.startswith("patch.webhook.admission.k8s.io/"):
            kept[key] = _without_patch(value)
        elif key.startswith(("authorization.k8s.io/", "pod-security.kubernetes.io/")):
            kept[key] = value
        else:
            kept[key] = mask(value)
    return kept


def body_text(tree: Any, resource: str, *, limit: int = MAX_OBJECT_BYTES) -> str:
    """A decoded body as redacted JSON text; empty where it is larger than `limit` bytes."""
    try:
        data = msgspec.json.encode(redact(tree, resource))
    except (RecursionError, ValueError, TypeError, OverflowError):
        return ""
    return data.decode() if len(data) <= limit else ""


def parameters_text(tree: Any, *, limit: int) -> str:
    """The parameters of a cloud API call as redacted JSON text; empty where they are larger than `limit` bytes."""
    return body_text(_without_secrets(tree, 0), "", limit=limit)


def _without_secrets(tree: Any, depth: int) -> Any:
    """A copy without what cloud APIs call a secret and Kubernetes calls the name of one; and without user data."""
    if depth > 100:
        return None
    if isinstance(tree, list):
        return [_without_secrets(item, depth + 1) for item in tree]
    if not isinstance(tree, dict):
        return tree
    named = tree.get("key", tree.get("Key"))  # tags: {"key": "password", "value": "x"}
    secret = isinstance(named, str) and is_secret_name(named)
    return {
        key: MASK
        if value is not None and (key.lower() in _CLOUD_SECRETS or (secret and key.lower() == "value"))
        else _without_secrets(value, depth + 1)
        for key, value in tree.items()
    }


def redact(tree: Any, resource: str, depth: int = 0) -> Any:
    """A copy of a decoded body without data of Secrets and ConfigMaps, env values, tokens, and copies of itself."""
    if isinstance(tree, str):
        return mask(tree)
    if isinstance(tree, list):
        if depth == 0 and resource in ("secrets", "configmaps"):
            return None  # a JSON Patch of them: any value may be data
        return _redact_list(tree, resource, depth)
    if not isinstance(tree, dict):
        return tree
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        if _is_ordinary(key):
            kept[key] = mask(value) if isinstance(value, str) else redact(value, resource, depth + 1)
        elif key in _DROPPED_KEYS or key in _COPIES:
            continue
        elif (key in _DATA and _hides_data(tree, resource)) or (key in _SECRET_KEYS and isinstance(value, str)):
            kept[key] = (
                MASK if isinstance(value, str) else dict.fromkeys(value, MASK) if isinstance(value, dict) else None
            )
        elif key == "env":
            kept[key] = _env(value)
        elif key in _SECRET_FILES or (key == "value" and isinstance(value, str) and _is_secret_pair(tree)):
            kept[key] = MASK
        elif key in ("command", "args") and isinstance(value, list) and all(isinstance(v, str) for v in value):
            kept[key] = mask_words(value)
        elif isinstance(value, str) and is_secret_name(key):
            kept[key] = MASK if key not in _PLAIN_NAMES else value
        else:
            kept[key] = redact(value, resource, depth + 1)
    return kept


# fields of cloud APIs that hold a secret, in lower case; the rest is known by its name
_CLOUD_SECRETS = frozenset({"secret", "credentials", "userdata", "secretstring", "secretbinary", "keydata"})
# fields of Kubernetes that are named as a secret is but hold a name
_PLAIN_NAMES = frozenset({"secretName", "key", "credentials"})
# what holds a whole file of credentials
_SECRET_FILES = frozenset({"kubeconfig", "kubeconfigs"})
_LOOKED_AT = _DROPPED_KEYS | _COPIES | _DATA | _SECRET_KEYS | _SECRET_FILES | {"env", "value", "command", "args"}


@lru_cache(maxsize=8192)
def _is_ordinary(key: str) -> bool:
    """Whether a field's name asks for nothing: what stands in it is redacted as anything is."""
    return key not in _LOOKED_AT and not is_secret_name(key)


def _is_secret_pair(tree: dict[str, Any]) -> bool:
    """Whether {name, value} is a header or a parameter that holds a secret."""
    name = tree.get("name")
    return isinstance(name, str) and (is_secret_name(name) or name.lower() in _SECRET_HEADERS)


def _redact_list(items: list[Any], resource: str, depth: int) -> list[Any]:
    """A list's items; an operation of a JSON Patch (op, path, value) hides what its path names."""
    kept = []
    for item in items:
        if isinstance(item, dict) and "op" in item and isinstance(item.get("path"), str) and "value" in item:
            kept.append({**item, "value": _patch_value(item["path"], item["value"], resource, depth)})
        else:
            kept.append(redact(item, resource, depth + 1))
    return kept


def _patch_value(path: str, value: Any, resource: str, depth: int) -> Any:
    parts = path.split("/")
    if (
        any(part in _DATA for part in parts[:3])
        or "env" in parts
        or any(c.replace("/", "~1") in parts for c in _COPIES)
    ):
        return _env(value) if parts[-1] == "env" else None
    if isinstance(value, list) and parts[-1] in ("command", "args") and all(isinstance(v, str) for v in value):
        return mask_words(value)
    return redact(value, resource, depth + 1)


def _hides_data(tree: dict[str, Any], resource: str) -> bool:
    if tree.get("kind") == "Secret" or resource == "secrets":
        return True
    if tree.get("kind") != "ConfigMap" and resource != "configmaps":
        return False
    metadata = tree.get("metadata")
    return not (isinstance(metadata, dict) and metadata.get("name") in _OPEN_CONFIGMAPS)


def _env(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    return [
        {k: MASK if k == "value" else v for k, v in item.items() if k in ("name", "value", "valueFrom")}
        for item in value
        if isinstance(item, dict)
    ]


def _without_patch(value: str) -> str:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    return msgspec.json.encode(
        {k: v for k, v in found.items() if k in ("configuration", "webhook", "patchType")}
    ).decode()
