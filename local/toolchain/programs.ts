/** Location and names of the files of an official release. */
export interface Release {
  readonly version: string;
  readonly url: string;
  /** @param os Go's name, such as `linux` @param arch Go's name, such as `amd64` */
  readonly archive: (os: string, arch: string) => string;
  /** The program's path in the archive. */
  readonly path: (os: string, arch: string) => string;
  /** Name of the file with the archive's SHA-256. */
  readonly checksums: (archive: string) => string;
}

/** A program that the system or its tests need and that npm does not install. */
export interface Program {
  readonly name: 'daprd' | 'nats-server' | 'helm' | 'tiltfile' | 'actionlint';
  /** Arguments that print the version (default `--version`). */
  readonly versionArguments?: readonly string[];
  /** Oldest accepted version; newer ones need the same major number. */
  readonly oldest: string;
  /** Undefined for programs of this project, which are only built. */
  readonly release?: Release;
  readonly build: {
    readonly version: string;
    /** Folder of the Go module in tools/. */
    readonly module: string;
    readonly arguments: readonly string[];
  };
  /** What the user can install if download and build fail. */
  readonly advice: string;
}

/** A program with an official release. */
export interface ReleasedProgram extends Program {
  readonly release: Release;
}

// 1.18.3 is the newest release, but 1.18.1 is built: later versions need a Go module that some Go proxies lack.
const [DAPR, DAPR_BUILT, NATS] = ['1.18.3', '1.18.1', '2.15.2'];

export const daprd: ReleasedProgram = {
  name: 'daprd',
  oldest: '1.18.0',
  release: {
    version: DAPR,
    url: `https://github.com/dapr/dapr/releases/download/v${DAPR}/`,
    archive: (os, arch) => `daprd_${os}_${arch}.tar.gz`,
    path: () => 'daprd',
    checksums: (archive) => `${archive}.sha256`,
  },
  build: {
    version: DAPR_BUILT,
    module: 'daprd',
    arguments: [
      ...['-tags', 'stablecomponents', '-ldflags'],
      `-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=${DAPR_BUILT} -X github.com/dapr/kit/logger.DaprVersion=${DAPR_BUILT}`,
      '.',
    ],
  },
  advice:
    'install the Dapr CLI (https://docs.dapr.io/getting-started/install-dapr-cli/) and run "dapr init --slim", or install Go (https://go.dev/dl/)',
};

export const natsServer: ReleasedProgram = {
  name: 'nats-server',
  oldest: '2.12.0',
  release: {
    version: NATS,
    url: `https://github.com/nats-io/nats-server/releases/download/v${NATS}/`,
    archive: (os, arch) => `nats-server-v${NATS}-${os}-${arch}.tar.gz`,
    path: (os, arch) => `nats-server-v${NATS}-${os}-${arch}/nats-server`,
    checksums: () => 'SHA256SUMS',
  },
  build: {
    version: NATS,
    module: 'nats-server',
    arguments: ['-ldflags', '-s -w', 'github.com/nats-io/nats-server/v2'],
  },
  advice: 'install nats-server (https://nats.io/download/ or "brew install nats-server"), or Go (https://go.dev/dl/)',
};

/** Evaluates the Tiltfile without Tilt and a cluster. */
export const tiltfile: Program = {
  name: 'tiltfile',
  versionArguments: ['-version'],
  oldest: '1.0.0',
  build: { version: '1.0.0', module: 'tiltfile', arguments: ['-ldflags', '-s -w', '.'] },
  advice: 'install Go (https://go.dev/dl/)',
};

/** Lints the GitHub workflows. */
export const actionlint: Program = {
  name: 'actionlint',
  versionArguments: ['-version'],
  oldest: '1.7.0',
  build: {
    version: '1.7.12',
    module: 'actionlint',
    arguments: ['-ldflags', '-s -w', 'github.com/rhysd/actionlint/cmd/actionlint'],
  },
  advice: 'install actionlint or Go (https://go.dev/dl/)',
};

/** Helm of both supported major versions. */
export const helm = [helmOf('4.3.1', 'helm'), helmOf('3.22.0', 'helm3')] as const;

function helmOf(version: string, module: string): ReleasedProgram {
  const major = version.split('.')[0];
  return {
    name: 'helm',
    versionArguments: ['version', '--short'],
    oldest: `${major}.0.0`,
    release: {
      version,
      url: 'https://get.helm.sh/',
      archive: (os, arch) => `helm-v${version}-${os}-${arch}.tar.gz`,
      path: (os, arch) => `${os}-${arch}/helm`,
      checksums: (archive) => `${archive}.sha256sum`,
    },
    build: {
      version,
      module,
      arguments: [
        '-ldflags',
        `-s -w -X helm.sh/helm/v${major}/internal/version.version=v${version}`,
        `helm.sh/helm/v${major}/cmd/helm`,
      ],
    },
    advice: `install Helm ${major} (https://helm.sh/docs/intro/install/), or Go (https://go.dev/dl/)`,
  };
}
