#!/usr/bin/env bash
# The base images of the Dockerfile by their digests of today, as docker/build-push-action takes them: contexts<<... NAME=docker-image://NAME@sha256:...
# The Dockerfile names tags; a release is built from what the tags were at that moment, and its provenance says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
stages=$(sed -nE 's/^FROM .* AS ([a-z0-9-]+).*/\1/p' Dockerfile)
echo "contexts<<END"
sed -nE 's/^FROM ([^ ]+).*/\1/p' Dockerfile | sort -u | grep -vxF "$stages" | while read -r image; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{json .Manifest}}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])')
    [[ $digest == sha256:* ]] || { echo "pin-bases: no digest for $image" >&2; exit 1; }
    echo "$image=docker-image://$image@$digest"
done
echo END
