import { findWorker, workers } from '../../../services/workers/workers.ts';

test.each([undefined, 'unknown', 'toString'])(
  'An unknown worker name is rejected with the list of workers: %s',
  (name) => {
    expect(() => findWorker(name)).toThrow(Object.keys(workers).join(', '));
  },
);

test.each(Object.keys(workers))('%s is found by its name', (name) => {
  expect(findWorker(name)).toEqual({ name, worker: workers[name] });
});
