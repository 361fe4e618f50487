# One image for all programs of both systems; the command selects one, such as `services/workers/main.ts publish-recorder`.
# No build step: Node runs the TypeScript files directly.
# The base image has an exact version, by tag. To pin its digest as well, look it up with
#   docker buildx imagetools inspect node:24.21.0-bookworm-slim
# and append `@sha256:…` to the tag, here or as --build-arg NODE_IMAGE=… (docs/decisions/0016).
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# --ignore-scripts: our install scripts would download a second Node.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/node node_modules/.bin

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="member-system" \
  org.opencontainers.image.description="Member API, relay, workers, family-account API and migrations of the member system"
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
# Package managers are not needed at run time.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn* /opt/yarn*
WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY lib lib
COPY ops ops
COPY services services
USER 65532:65532
ENTRYPOINT ["node"]
CMD ["services/member/main.ts"]
