"""Makes `records` importable: the tests' folder is no package (importmode=importlib)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
