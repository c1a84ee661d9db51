# syntax=docker/dockerfile:1
# One image for every role: the program, certificates to verify model providers with, and a user
# without rights. A role is chosen by the command, see compose.yaml.

# Both stages are Debian 12, so that the program finds the libc that it was linked against.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the build, the program does not: it is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p nexus \
    && install -D target/release/nexus /out/nexus

FROM debian:12.12-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --home-dir /nonexistent nexus
COPY --from=build /out/nexus /usr/local/bin/nexus
USER 10001:10001
# For the gateway: nobody reaches the loopback address of a container.
ENV NEXUS_LISTEN=0.0.0.0:8080
EXPOSE 8080
# No init beside it: the program starts nothing that it does not wait for, and stops on SIGTERM.
ENTRYPOINT ["nexus"]
CMD ["--help"]
