import { readConfig } from '#service/config';
import { settings } from '../../../services/member/settings.ts';

const READER_TOKENS = settings.READER_TOKENS;
const read = (value: string) => readConfig({ READER_TOKENS }, { READER_TOKENS: value }).READER_TOKENS;

test('Readers’ tokens are read by the name of the system, and may end with an equals sign', () => {
  expect(read('billing=0123456789abcde=,crm=fedcba9876543210')).toEqual(
    new Map([
      ['billing', '0123456789abcde='],
      ['crm', 'fedcba9876543210'],
    ]),
  );
  expect(read('')).toEqual(new Map());
});

test.each(['billing', 'billing=short', 'Billing=0123456789abcdef', '=0123456789abcdef'])(
  'A reader’s token that is none is refused without being told: %s',
  (value) => {
    expect(() => read(value)).toThrow(/READER_TOKENS is wrong/);
    expect(() => read(value)).not.toThrow(/0123456789abcdef/);
  },
);
