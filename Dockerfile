# syntax=docker/dockerfile:1
# Needs nothing but the sources; .dockerignore keeps everything else out.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release && cp target/release/rekey /rekey
# An empty directory to copy, so that a volume mounted over it belongs to the user below.
RUN mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /rekey /usr/local/bin/rekey
COPY --from=build --chown=65532:65532 --chmod=0700 /data /var/lib/rekey
ENV REKEY_DATA_DIR=/var/lib/rekey
VOLUME /var/lib/rekey
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["rekey", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rekey"]
CMD ["serve"]
