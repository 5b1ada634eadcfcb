#!/usr/bin/env bash
# docker compose from nothing, proven: build, up, the demo's alerts, every service scaled 1 -> 3 -> 2 under load, Redis and then
# Kafka stopped and started meanwhile, nothing lost and nothing invented, down. `make test-compose` runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
docker info >/dev/null 2>&1 || { echo "test-compose: no Docker engine answers (DOCKER_HOST=${DOCKER_HOST:-unset})" >&2; exit 1; }
export COMPOSE_PROJECT_NAME=leadsman-test LEADSMAN_KAFKA_PORT=${LEADSMAN_KAFKA_PORT:-29093}
records=${RECORDS:-30000} seconds=${SECONDS_OF_LOAD:-280}
base=(docker compose -f deploy/compose/compose.yaml)
compose() { "${base[@]}" -f tests/compose/compose.yaml "$@"; }
demo() { "${base[@]}" -f deploy/compose/demo.yaml --profile aws --profile demo "$@"; }
say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }
clean() {
    status=$?
    [ $status = 0 ] || { compose ps -a; compose logs --tail 40 init normalizer detector notifier kafka; } >&2 || true
    "${base[@]}" -f deploy/compose/demo.yaml -f tests/compose/compose.yaml --profile '*' down -v --remove-orphans -t 5 >/dev/null 2>&1 || true
    exit $status
}
trap clean EXIT
SECONDS=0

say "from nothing: build"
compose --profile '*' down -v --remove-orphans >/dev/null 2>&1 || true
"${base[@]}" --profile '*' build -q
demo build -q demo
say "up --wait"
"${base[@]}" up --wait
"${base[@]}" ps --format '{{.Service}} {{.Status}}'

say "the demo"
demo up --wait normalizer detector notifier ingest-aws
demo run --rm demo --attach --no-live | tail -1 | tee /dev/stderr | grep -qE 'demo: eks=[1-9][0-9]* gke=[1-9][0-9]* correlated=[1-9]'
demo down -v -t 5 >/dev/null 2>&1

say "a fresh stack with a receiver; $records records over $seconds s"
compose up --wait
compose run -d --name leadsman-test-feed feed play "$records" "$seconds" >/dev/null
for service in normalizer detector notifier; do
    say "$service 1 -> 3 -> 2"
    compose up -d --no-recreate --wait --scale $service=3
    sleep 8
    compose up -d --no-recreate --wait --scale $service=2
done
scaled=(--scale normalizer=2 --scale detector=2 --scale notifier=2)
say "Redis stopped and started"
compose stop redis && sleep 8 && compose start redis
sleep 12
say "Kafka stopped and started"
compose stop kafka && sleep 10 && compose start kafka
say "everything healthy again"
compose up -d --no-recreate --wait "${scaled[@]}"
[ "$(docker wait leadsman-test-feed)" = 0 ] || { docker logs leadsman-test-feed; exit 1; }
docker logs leadsman-test-feed | tail -1
say "nothing lost"
compose run --rm feed check "$records"
docker rm -f leadsman-test-feed >/dev/null
say "memory"
docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | grep leadsman-test | sort
say "down"
