#!/usr/bin/env bash
# docker compose from nothing, proven: build, up, the demo's alerts, every service scaled 1 -> 3 -> 2 under load, Redis and then
# Kafka stopped and started meanwhile, nothing lost and nothing invented, down. `make test-compose` runs it.
# The load goes on until the last step is through, and each step until records were fed and alerts came out in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
docker info >/dev/null 2>&1 || { echo "test-compose: no Docker engine answers (DOCKER_HOST=${DOCKER_HOST:-unset})" >&2; exit 1; }
export COMPOSE_PROJECT_NAME=leadsman-test LEADSMAN_KAFKA_PORT=${LEADSMAN_KAFKA_PORT:-29093}
pace=${RECORDS_A_SECOND:-100}
base=(docker compose -f deploy/compose/compose.yaml)
compose() { "${base[@]}" -f tests/compose/compose.yaml "$@"; }
demo() { "${base[@]}" -f deploy/compose/demo.yaml --profile aws --profile demo "$@"; }
say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }
feed() { docker exec leadsman-test-feed python /repo/tests/compose/feed.py "$@"; }
ours() { docker ps -a --filter label=com.docker.compose.project=leadsman-test "$@"; }
clean() {
    status=$?
    [ $status = 0 ] || { ours; compose logs --tail 40 init normalizer detector notifier kafka; docker logs --tail 5 leadsman-test-feed; } >&2 || true
    "${base[@]}" -f deploy/compose/demo.yaml -f tests/compose/compose.yaml --profile '*' down -v --remove-orphans -t 5 >/dev/null 2>&1 || true
    exit $status
}
trap clean EXIT
# `up --wait` gives up at the first container that is not healthy; one that was hurt may take a while to be well again
healthy() {
    for _ in $(seq 150); do
        ill=$(ours --format '{{.Label "com.docker.compose.service"}} {{.Status}}' | grep -vE '^(init|feed) ' | grep -v '(healthy)' || true)
        [ -n "$ill" ] || return 0
        sleep 2
    done
    echo "not healthy: $ill" >&2
    return 1
}
declare -A workers
scale() { # SERVICE NUMBER; the others keep theirs
    workers[$1]=$2
    local all=() one
    for one in "${!workers[@]}"; do all+=(--scale "$one=${workers[$one]}"); done
    compose up -d --no-recreate "${all[@]}"
    healthy
    [ "$(ours -q --filter "label=com.docker.compose.service=$1" | wc -l)" = "$2" ]
}
SECONDS=0

say "from nothing: build"
compose --profile '*' down -v --remove-orphans >/dev/null 2>&1 || true
# a build may reach no Maven repository where this machine does: the archive is then built in as it is
version=$(sed -n 's/^ARG APICURIO=//p' Dockerfile)
if [ ! -f "deploy/compose/schema-registry/apicurio-registry-app-$version-all.tar.gz" ] && command -v mvn >/dev/null; then
    mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory=deploy/compose/schema-registry
fi
"${base[@]}" --profile '*' config -q
"${base[@]}" --profile '*' build -q
demo build -q demo
say "up --wait, with the schema registry"
LEADSMAN_SCHEMA_REGISTRY_URL=http://schema-registry:8080/apis/ccompat/v7 "${base[@]}" --profile registry up --wait
"${base[@]}" logs init | grep "registered: .*audit.events-value"
"${base[@]}" --profile registry rm -sf schema-registry >/dev/null 2>&1
"${base[@]}" ps --format '{{.Service}} {{.Status}}'

say "the demo"
demo up --wait normalizer detector notifier ingest-aws
said=$(demo run --rm demo --attach --no-live | tee >(cat >&2) | tail -1)
[[ $said =~ demo:\ eks=[1-9][0-9]*\ gke=[1-9][0-9]*\ correlated=[1-9] ]]
demo down -v -t 5 >/dev/null 2>&1

say "a fresh stack with a notify.yaml and a receiver; $pace records a second"
export LEADSMAN_NOTIFY_DIR=$PWD/tests/compose/notify
compose up --wait
compose run -d --name leadsman-test-feed feed play "$pace" >/dev/null
for service in normalizer detector notifier; do
    say "$service 1 -> 3 -> 2"
    feed more 500 5 "$service" 1
    scale "$service" 3
    feed more 1000 10 "$service" 3
    scale "$service" 2
    feed more 500 5 "$service" 2
done
say "Redis stopped and started"
compose stop redis
feed more 1000 5
compose start redis
feed more 1000 10
say "Kafka stopped and started"
compose stop kafka
for _ in $(seq 90); do said=$(docker logs leadsman-test-feed); [[ $said == *"Kafka is away"* ]] && break; sleep 1; done
grep -m 1 'Kafka is away' <<<"$said"
compose start kafka
feed more 1000 10
say "everything healthy again"
healthy
feed stop
[ "$(docker wait leadsman-test-feed)" = 0 ]
docker logs leadsman-test-feed | tail -1
played=$(docker logs leadsman-test-feed | grep -oE '^feed: [0-9]+ records played' | grep -oE '[0-9]+')
say "nothing lost of $played records"
compose run --rm feed check "$played"
docker rm -f leadsman-test-feed >/dev/null
say "memory"
docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' | grep leadsman-test | sort
say "down"
compose --profile '*' down -v -t 30
[ -z "$(ours -q)" ] && [ -z "$(docker volume ls -q --filter label=com.docker.compose.project=leadsman-test)" ]
say "done"
