import { jest } from '@jest/globals';

// On a busy machine processes of a whole system restart slowly. Jest ignores a testTimeout of a project.
jest.setTimeout(300_000);
/** Default limit of `eventually`. */
globalThis.eventuallyMs = 60_000;
