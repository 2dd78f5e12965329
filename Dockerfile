# docker build -t greenroom .
# docker run -p 127.0.0.1:5000:5000 -v greenroom:/data greenroom
#
# The server listens on all of the container's addresses, as its loopback can't be reached from outside, and so everyone has to
# log in. Its first lines tell how to make the first administrator; MLFLOW_AUTH_ADMIN_PASSWORD makes one, too.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=0.1.0-dev
RUN CGO_ENABLED=0 go build -trimpath -tags nomsgpack -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/greenroom ./cmd/greenroom \
    && mkdir -m 0700 /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/greenroom /usr/local/bin/greenroom
COPY --from=build --chown=65532:65532 /out/data /data
ENV MLFLOW_HOST=0.0.0.0
# greenroom.db and mlartifacts; a folder mounted here must belong to user 65532
WORKDIR /data
VOLUME /data
EXPOSE 5000
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/greenroom"]
CMD ["server"]
