# itera-serve in an image of 14 MB, 7 as it is pulled: one static binary and its model, nothing else, not root. Builds on amd64
# and arm64 alike.
#
#   docker build -t itera-serve .
#   docker run -p 8000:8000 -v itera:/data -e ITERA_TOKEN="$(openssl rand -hex 16)" itera-serve
#
# scripts/serve-deploy-check.sh builds the binary by the same command, counts the files of the image and runs it in them.

FROM rust:1.95-slim-bookworm AS build
# SQLite is C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends musl-tools=1.2.3-1 \
    && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    scripts/build-server.sh --target "$(uname -m)-unknown-linux-musl" \
    && cp "target/$(uname -m)-unknown-linux-musl/dist/itera-serve" /itera-serve \
    && mkdir -p /empty/data

FROM scratch
COPY --from=build /itera-serve /itera-serve
COPY data/models/micro-tinystories.safetensors \
     data/models/micro-tinystories.int8.safetensors \
     data/models/micro-tinystories.int4.safetensors /models/
COPY --from=build --chown=65532:65532 /empty/data /data
# The port is 8000, or PORT where the platform sets it.
ENV ITERA_HOST=0.0.0.0 \
    ITERA_MODELS_DIR=/models \
    ITERA_DATABASE=/data/itera-serve.db \
    ITERA_LOG_FORMAT=json
VOLUME ["/data"]
EXPOSE 8000
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s CMD ["/itera-serve", "health"]
ENTRYPOINT ["/itera-serve"]
