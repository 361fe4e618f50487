/** Where the files of an official release lie, and what they are called. */
export interface Release {
  readonly version: string;
  readonly url: string;
  /** @param os as Go calls it, such as `linux` @param arch likewise, such as `amd64` */
  readonly archive: (os: string, arch: string) => string;
  /** The program's path in the archive. */
  readonly path: (os: string, arch: string) => string;
  /** The file beside the archive that has its SHA-256. */
  readonly checksums: (archive: string) => string;
}

/** A program that the system or its tests need and npm does not bring. */
export interface Program {
  readonly name: 'daprd' | 'nats-server' | 'helm' | 'tiltfile';
  /** How it is asked for its version; `--version` unless told. */
  readonly versionArguments?: readonly string[];
  /** What is found on the machine has this major version, and is at least this old. */
  readonly oldest: string;
  /** None of a program of this project's own, which is built. */
  readonly release?: Release;
  readonly build: {
    readonly version: string;
    /** The folder of tools/ that has the Go module. */
    readonly module: string;
    readonly arguments: readonly string[];
  };
  /** What people can do when every way to get it has failed. */
  readonly advice: string;
}

/** A program that has an official release to be downloaded. */
export interface ReleasedProgram extends Program {
  readonly release: Release;
}

// 1.18.3 is the newest release. It is 1.18.1 that can be built everywhere: a module that later ones need is not on every Go proxy.
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

/** Evaluates the Tiltfile where Tilt cannot run. */
export const tiltfile: Program = {
  name: 'tiltfile',
  versionArguments: ['-version'],
  oldest: '1.0.0',
  build: { version: '1.0.0', module: 'tiltfile', arguments: ['-ldflags', '-s -w', '.'] },
  advice: 'install Go (https://go.dev/dl/)',
};

/** Helm of both majors that are in use. */
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
