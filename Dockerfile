# The daemon and the command line in one image: `docker build -t taskrunnerx .`
# Without a command it is `taskrunnerx serve` on port 8000; docs/how-to/deploy.md has the rest.

FROM docker.io/library/rust:1.95-slim-bookworm AS build
# make is for jemalloc; tini goes into the image below.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates make tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies are a layer of their own, which lasts until Cargo.lock changes: what they are built for is empty.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && touch src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs benches/micro.rs >/dev/null \
    && cargo build --release --locked --bin taskrunnerx \
    && rm -r src
COPY migrations migrations
COPY src src
# Cargo goes by times, and the files just copied are older than what was built from the empty ones.
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin taskrunnerx

FROM docker.io/library/debian:bookworm-slim
RUN groupadd --gid 65532 taskrunnerx \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin taskrunnerx \
    && mkdir /etc/taskrunnerx
# The authorities that TLS connections are checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# The first process: it passes signals on, and lets go what programs leave behind when they are killed with their leash.
COPY --from=build /usr/bin/tini /usr/bin/tini
COPY --from=build /build/target/release/taskrunnerx /usr/local/bin/taskrunnerx
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
# taskrunnerx.toml is read from here, where one is mounted.
WORKDIR /etc/taskrunnerx
# Others reach it, so the role api wants a key: TASKRUNNERX_API_KEY_FILE, or `apikey create`. It says so itself.
ENV TASKRUNNERX_BIND=0.0.0.0:8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["taskrunnerx", "health", "--ready"]
# Last, since they change with every build.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Task Runner X" \
      org.opencontainers.image.description="The job server you can curl: API, worker and scheduler" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENTRYPOINT ["/usr/bin/tini", "--", "taskrunnerx"]
CMD ["serve"]
