# A static binary, the roots of TLS and the time zones, nothing else: no shell, no package manager, no root.
#
#   docker build -t tidegate:0.1.0 .
#   docker run --rm --read-only -v "$PWD:/data" -u "$(id -u):$(id -g)" -e OPENAI_API_KEY tidegate:0.1.0 \
#       run /data/rows.jsonl -m openai/gpt-5-mini -t /data/prompt.txt -o /data/out.jsonl
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools ca-certificates tzdata && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG FEATURES=
RUN FEATURES="$FEATURES" scripts/build-static.sh && mkdir /empty

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /src/target/static/tidegate /tidegate
# A new volume that is mounted here belongs to the user, too.
COPY --from=build --chown=65532:65532 /empty /data
USER 65532:65532
WORKDIR /data
ENTRYPOINT ["/tidegate"]
