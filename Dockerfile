# One image for every program of both systems; the command picks one, such as `services/workers/main.ts publish-recorder`.
# No compile step: Node runs the TypeScript as it is.
# An exact version, and by tag: whoever has a registry at hand pins it with
#   docker buildx imagetools inspect node:24.21.0-bookworm-slim
# and `@sha256:…` behind the tag, here or as --build-arg NODE_IMAGE=… (docs/decisions/0016).
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Without install scripts: ours would bring a second Node.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/node node_modules/.bin

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="member-system" \
  org.opencontainers.image.description="Member API, relay, workers, family-account API and migrations of the member system"
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
# Nothing is installed in a container that runs.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn* /opt/yarn*
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY lib lib
COPY services services
USER 65532:65532
ENTRYPOINT ["node"]
CMD ["services/member/main.ts"]
