import { TestEnvironment } from 'jest-environment-node';

/** Records whether a test of the file has failed; stack.ts then prints the warnings and errors of the processes. */
export default class extends TestEnvironment {
  handleTestEvent({ name }) {
    if (name === 'test_fn_failure' || name === 'hook_failure') this.global.aTestHasFailed = true;
  }
}
