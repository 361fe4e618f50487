// Test projects by cost, which is in the file's name: *.unit (only code), *.int (a real PostgreSQL), *.e2e (the whole system on real parts).
// Not part of `npm test`: *.long takes minutes and Python, *.cluster takes a Kubernetes.
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

/** Projects that run the whole system have longer limits. */
const wholeSystem = { setupFilesAfterEnv: ['<rootDir>/test/support/whole-system.js'] };

export default {
  // For tests that hang. Not a measure of speed: machines are busy. Below the API's keep-alive of 95 s, which would end such a test as well.
  testTimeout: 60_000,
  // Of `npm run coverage`. The main files run in processes of their own, which only the e2e tests start.
  coverageProvider: 'v8',
  collectCoverageFrom: ['lib/**/*.ts', 'services/**/*.ts', 'ops/**/*.ts'],
  coverageDirectory: '.data/coverage',
  coverageReporters: ['text-summary', 'json-summary', 'lcovonly'],
  projects: [
    project('unit'),
    project('int', {
      globalSetup: '<rootDir>/test/support/postgres-setup.ts',
      globalTeardown: '<rootDir>/test/support/postgres-teardown.ts',
    }),
    project('e2e', {
      globalSetup: '<rootDir>/test/support/programs-setup.ts',
      testEnvironment: '<rootDir>/test/support/environment.js',
      ...wholeSystem,
    }),
    project('long', { globalSetup: '<rootDir>/test/support/programs-setup.ts', ...wholeSystem }),
    project('cluster', { globalSetup: '<rootDir>/test/support/programs-setup.ts', ...wholeSystem }),
  ],
};
