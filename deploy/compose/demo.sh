#!/usr/bin/env bash
# An attack on two clouds through the stack of compose.yaml, with Docker alone. Starts what does not run yet; leaves it running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
docker info >/dev/null 2>&1 || { echo "demo-compose: no Docker engine answers" >&2; exit 1; }
compose() { docker compose -f compose.yaml -f demo.yaml --profile aws "$@"; }
compose up --wait --build --quiet-pull normalizer detector notifier ingest-aws
compose --profile demo run --rm --build demo --attach --no-live
echo "left running; stop it with: docker compose -f deploy/compose/compose.yaml -f deploy/compose/demo.yaml --profile '*' down -v"
