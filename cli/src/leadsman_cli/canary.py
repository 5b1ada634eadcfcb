"""`leadsman canary`: send one canary through an API server (leadsman_common.canary).

The chart's CronJob runs `python -m leadsman_cli.canary`, which starts in a fraction of the time of all commands.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click

from leadsman_common.canary import user_agent
from leadsman_common.since import span_ms
from leadsman_common.visible import clean

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_EVERY_S = 86_400
DO = {
    401: "the token is not valid (any more)",
    403: "it needs the right to patch this ConfigMap, and no other",
    404: "make it: kubectl -n {namespace} create configmap {name}",
}


class Span(click.ParamType):
    """A click type: seconds, of `5m` or `90s`."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See span_ms."""
        now_ms = time.time_ns() // 1_000_000
        try:
            seconds = (now_ms - span_ms(str(value), now_ms)) // 1000
        except ValueError:
            seconds = 0
        if not 0 < seconds <= MAX_EVERY_S:
            self.fail(f"{value!r} is no span such as 90s, 5m or 1h, or is longer than a day", param, ctx)
        return seconds


@click.command()
@click.option("--every", type=Span(), default="5m", show_default=True, help="When the next one will be sent.")
@click.option("--retire", is_flag=True, help="Say that none will be sent any more: nobody is to miss them.")
@click.option(
    "--server", default="https://kubernetes.default.svc", show_default=True, metavar="URL", help="The API server."
)
@click.option("--namespace", default="leadsman", show_default=True, help="Of the ConfigMap.")
@click.option("--name", default="leadsman-canary", show_default=True, help="The ConfigMap that is written.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=MOUNTED / "token",
    help="The sender's token; in a pod the one that is mounted.",
)
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=MOUNTED / "ca.crt",
    help="The CA of the API server's certificate; in a pod the one that is mounted.",
)
@click.option("--timeout", "timeout_s", type=float, default=20.0, show_default=True, help="Seconds to wait.")
def canary(
    every: int, retire: bool, server: str, namespace: str, name: str, token_file: Path, ca_file: Path, timeout_s: float
) -> int:
    """Send a canary: a harmless request through the API server that must come back as a test alert.

    It writes the time into one ConfigMap. From the first one on, its absence is an alert (canary-missing), unless the
    last one says --retire. Always send them as the same account.
    """
    sent_ms = time.time_ns() // 1_000_000
    agent = user_agent(sent_ms, 0 if retire else every)
    try:
        token = token_file.read_text(encoding="utf-8").strip()
        context = ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # of ssl too
        raise click.ClickException(f"{error}: outside a pod, --token-file and --ca-file are due") from error
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"
    headers = {
        "Authorization": f"Bearer {token}",
        "User-Agent": agent,
        "Content-Type": "application/merge-patch+json",
        "Accept": "application/json",
    }
    status, said = _patch(server, path, {"data": {"sent": str(sent_ms)}}, headers, context, timeout_s)
    if not 200 <= status < 300:
        do = DO[status].format(namespace=namespace, name=name) if status in DO else clean(said, 300)
        raise click.ClickException(f"{server}{path}: {status}: {do}")
    took_ms = time.time_ns() // 1_000_000 - sent_ms
    click.echo(f"{'the last canary' if retire else 'canary'} sent={sent_ms}: {status} after {took_ms} ms")
    return 0


def _patch(
    server: str, path: str, body: Any, headers: dict[str, str], context: ssl.SSLContext, timeout_s: float
) -> tuple[int, str]:
    """Status and answer. Straight to the server: a proxy of the environment is not for it."""
    parts = urlsplit(server)
    if parts.scheme != "https" or not parts.hostname:
        raise click.ClickException(f"--server {server}: https://HOST:PORT is due")
    connection = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=timeout_s, context=context)
    try:
        connection.request("PATCH", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(100_000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise click.ClickException(f"{server} does not answer: {error}") from error
    finally:
        connection.close()


if __name__ == "__main__":
    canary(prog_name="leadsman canary")
