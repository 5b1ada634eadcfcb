"""`leadsman config`: what settings come to, and a JSON schema of them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from typing import Any, get_type_hints

import click
from rich.console import Console
from rich.table import Table

from leadsman_common.settings import Common, SettingError, load, shown, variable

INGEST = ("ingest-aws", "ingest-gcp", "ingest-azure", "ingest-kafka", "ingest-k8s")
SERVICES = (*INGEST, "normalizer", "detector", "notifier")
_TYPES: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "string", "pattern": r"^-?\d+$"},
    float: {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"},
    bool: {"type": "string", "enum": ["true", "false", "1", "0", "yes", "no", ""]},
    tuple[str, ...]: {"type": "string", "description": "several, with commas"},
    dict[str, str]: {"type": "string", "description": "NAME=VALUE, several with commas"},
}


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
@click.option("--schema", is_flag=True, help="Write a JSON schema of the environment instead.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How it is written.")
def config(service: str, schema: bool, output: str) -> int:
    """Say what SERVICE's settings come to here, and where each is from; secrets are hidden.

    Exit code 1 where a setting is missing or wrong, with a line for each.
    """
    settings = settings_of(service)
    if schema:
        click.echo(json.dumps(json_schema(service, settings), indent=2))
        return 0
    try:
        values = shown(load(settings))
    except SettingError as error:
        raise click.ClickException(str(error)) from error
    rows = [(variable(name), value, _origin(name)) for name, value in values.items()]
    if output == "json":
        click.echo(json.dumps({name: {"value": value, "from": origin} for name, value, origin in rows}, indent=2))
        return 0
    table = Table("setting", "value", "from")
    for name, value, origin in rows:
        table.add_row(name, _text(value), origin)
    Console(highlight=False).print(table)
    return 0


def settings_of(service: str) -> type[Common]:
    """The settings class of a service's config.py."""
    module = importlib.import_module(f"leadsman_{service.replace('-', '_')}.config")
    found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Common) and c is not Common]
    (only,) = found
    return only


def json_schema(service: str, settings: type[Common]) -> dict[str, Any]:
    """A JSON schema of the environment variables that a service reads; other variables are let be."""
    types = get_type_hints(settings)
    properties: dict[str, Any] = {}
    needed = []
    for field in dataclasses.fields(settings):
        said = _TYPES[types[field.name]]
        meaning = field.metadata["meaning"]
        more = f" ({said['description']})" if "description" in said else ""
        properties[variable(field.name)] = {**said, "description": meaning + more}
        if field.metadata.get("secret"):
            properties[variable(field.name)]["writeOnly"] = True
            file = f"{variable(field.name)}_FILE"
            properties[file] = {"type": "string", "description": f"a file that holds {variable(field.name)}"}
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            needed.append(variable(field.name))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Environment of Leadsman's {service}",
        "type": "object",
        "properties": properties,
        "required": needed,
    }


def _origin(name: str) -> str:
    if os.environ.get(f"{variable(name)}_FILE"):
        return "a file"
    return "the environment" if variable(name) in os.environ else "default"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return str(value)
