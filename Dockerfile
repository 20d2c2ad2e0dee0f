# The last stage runs no command, so that it stands on any base: distroless by default, scratch as well.
ARG BASE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
# The modules change less often than the code: a layer of their own.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel TARGETOS TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make build VERSION=$VERSION

FROM $BASE
COPY --from=build /src/bin/sourceward /src/bin/sourceward-webhook /usr/local/bin/
# By number, because Kubernetes can verify runAsNonRoot only then, and because scratch knows no names.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/sourceward"]
