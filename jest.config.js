// Three costs of test, told apart by the file's name: *.unit (nothing but code), *.int (a real PostgreSQL),
// *.e2e (the whole system on real parts). Not part of `npm test`: *.long, which takes minutes and Python, and *.cluster, which takes
// a Kubernetes.
// Node strips the types itself, so nothing is transformed.
const project = (name, extra) => ({
  displayName: name,
  testMatch: [`<rootDir>/test/**/*.${name}.test.ts`],
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {},
  moduleFileExtensions: ['ts', 'js', 'mjs', 'cjs', 'json', 'node'],
  ...extra,
});

export default {
  // A limit for what hangs, not a measure: machines are busy.
  testTimeout: 60_000,
  projects: [
    project('unit'),
    project('int', {
      globalSetup: '<rootDir>/test/support/postgres-setup.ts',
      globalTeardown: '<rootDir>/test/support/postgres-teardown.ts',
    }),
    project('e2e', { globalSetup: '<rootDir>/test/support/programs-setup.ts' }),
    project('long', { globalSetup: '<rootDir>/test/support/programs-setup.ts' }),
    project('cluster', { globalSetup: '<rootDir>/test/support/programs-setup.ts' }),
  ],
};
