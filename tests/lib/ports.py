"""A port for what is bound later, or again: never one that an outgoing connection is given meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "deploy" / "local"))

from processes import free_port

__all__ = ["free_port"]
