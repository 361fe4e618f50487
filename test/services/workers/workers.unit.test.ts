import { findWorker, workers } from '../../../services/workers/workers.ts';

test.each([undefined, 'nobody', 'toString'])('Who asks for no worker of ours is told which there are: %s', (name) => {
  expect(() => findWorker(name)).toThrow(Object.keys(workers).join(', '));
});

test.each(Object.keys(workers))('%s is found by its name', (name) => {
  expect(findWorker(name)).toEqual({ name, worker: workers[name] });
});
