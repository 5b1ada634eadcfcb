# The images of Leadsman, a target for each service and one for the command line:
#   docker build --target detector -t leadsman/detector .
# Each holds its own service, leadsman_common and what they need, from the hashes of services/NAME/requirements.lock.
# Build arguments: PIP_INDEX_URL for a package index of your own (the default one otherwise).

# ---- what builds: never part of an image that runs
FROM python:3.11-slim AS build
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
WORKDIR /src
COPY requirements-uv.lock requirements-build.lock ./
RUN python -m pip install -q --require-hashes -r requirements-uv.lock -r requirements-build.lock

FROM build AS wheels
COPY schemas schemas
COPY rules rules
COPY common common
COPY services services
COPY cli cli
RUN for member in common services/* cli; do \
        python -m pip wheel -q --no-deps --no-build-isolation --wheel-dir /wheels "./$member" || exit 1; \
    done

FROM build AS ingest-aws-env
COPY services/ingest-aws/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_ingest_aws-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS ingest-gcp-env
COPY services/ingest-gcp/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_ingest_gcp-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS ingest-azure-env
COPY services/ingest-azure/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_ingest_azure-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS ingest-kafka-env
COPY services/ingest-kafka/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_ingest_kafka-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS ingest-k8s-env
COPY services/ingest-k8s/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_ingest_k8s-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS normalizer-env
COPY services/normalizer/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_normalizer-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS detector-env
COPY services/detector/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_detector-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS notifier-env
COPY services/notifier/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/leadsman_common-*.whl /wheels/leadsman_notifier-*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS cli-env
COPY cli/requirements.lock .
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes -r requirements.lock
COPY --from=wheels /wheels/*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

FROM build AS demo-env
COPY cli/requirements.lock deploy/compose/requirements-demo.lock ./
COPY services/notifier/requirements.lock requirements-notifier.lock
RUN python -m venv --without-pip /opt/leadsman && uv pip install -q --python /opt/leadsman --require-hashes \
    -r requirements.lock -r requirements-notifier.lock -r requirements-demo.lock
COPY --from=wheels /wheels/*.whl /wheels/
RUN uv pip install -q --python /opt/leadsman --no-deps --compile-bytecode /wheels/*.whl

# ---- what runs: a user without rights, no pip, a file system that is only read
FROM python:3.11-slim AS runtime
RUN python -m pip uninstall -q -y --root-user-action=ignore setuptools wheel pip 2>/dev/null; \
    useradd --system --uid 10001 --user-group --home-dir /var/lib/leadsman --create-home --shell /usr/sbin/nologin leadsman
ENV PATH=/opt/leadsman/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LEADSMAN_HTTP_HOST=0.0.0.0 LEADSMAN_HTTP_PORT=8080
WORKDIR /var/lib/leadsman
USER 10001:10001
EXPOSE 8080

FROM runtime AS ingest-aws
COPY --from=ingest-aws-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_ingest_aws"]

FROM runtime AS ingest-gcp
COPY --from=ingest-gcp-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_ingest_gcp"]

FROM runtime AS ingest-azure
COPY --from=ingest-azure-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_ingest_azure"]

FROM runtime AS ingest-kafka
COPY --from=ingest-kafka-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_ingest_kafka"]

FROM runtime AS ingest-k8s
COPY --from=ingest-k8s-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_ingest_k8s"]

FROM runtime AS normalizer
COPY --from=normalizer-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_normalizer"]

FROM runtime AS detector
COPY --from=detector-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_detector"]

FROM runtime AS notifier
COPY --from=notifier-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["python", "-m", "leadsman_notifier"]

FROM runtime AS cli
COPY --from=cli-env /opt/leadsman /opt/leadsman
ENTRYPOINT ["leadsman"]

# not for production: the stand-in for AWS and the player of `make demo-compose`
FROM runtime AS demo
COPY --from=demo-env /opt/leadsman /opt/leadsman
COPY deploy/local /opt/demo/deploy/local
ENTRYPOINT ["python", "/opt/demo/deploy/local/demo/run.py"]

# ---- the schema registry of docker compose's profile `registry`: Apicurio from its Maven archive
# 3.0.x is the last line that Java 17, Debian 12's, runs. An archive that lies in deploy/compose/schema-registry is taken as it
# is, for builds that reach no Maven repository; either way the checksum decides.
FROM debian:bookworm-slim AS schema-registry-archive
ARG APICURIO=3.0.9
ARG APICURIO_SHA256=2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43
COPY deploy/compose/schema-registry /archive
RUN mkdir -p /usr/share/man/man1 /opt/apicurio; cd /archive; archive=apicurio-registry-app-$APICURIO-all.tar.gz; \
    if [ ! -f "$archive" ]; then \
        apt-get -qq update && apt-get -qq install -y --no-install-recommends maven ca-certificates >/dev/null \
        && mvn -q -B dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:$APICURIO:tar.gz:all -DoutputDirectory=/archive; \
    fi \
    && echo "$APICURIO_SHA256  $archive" | sha256sum -c --quiet \
    && tar -xzf "$archive" -C /opt/apicurio \
    && mv /opt/apicurio/apicurio-registry-app-*-runner.jar /opt/apicurio/registry.jar

FROM debian:bookworm-slim AS schema-registry
RUN mkdir -p /usr/share/man/man1 && apt-get -qq update \
    && apt-get -qq install -y --no-install-recommends openjdk-17-jre-headless >/dev/null && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --shell /usr/sbin/nologin registry
COPY --from=schema-registry-archive /opt/apicurio /opt/apicurio
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["java", "-XX:MaxRAMPercentage=50", "-XX:+UseSerialGC", "-Djava.io.tmpdir=/tmp", "-jar", "/opt/apicurio/registry.jar"]
