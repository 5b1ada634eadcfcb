#!/usr/bin/env bash
# Formats the data folder once, then runs the broker. Arguments: --override NAME=VALUE ...
set -euo pipefail
export CLASSPATH='/opt/kafka/libs/*'
config=/etc/leadsman/server.properties
logging=-Dlog4j2.configurationFile=/etc/leadsman/log4j2.yaml
java -XX:TieredStopAtLevel=1 "$logging" kafka.tools.StorageTool format --ignore-formatted --cluster-id "$CLUSTER_ID" -c "$config" >/dev/null
# shellcheck disable=SC2086 - the options of the heap are several words
exec java ${KAFKA_HEAP_OPTS:-} -XX:+UseG1GC "$logging" kafka.Kafka "$config" "$@"
