import { readConfig } from '#process/config';
import { settings } from '../../../services/member/settings.ts';

const READER_TOKENS = settings.READER_TOKENS;
const read = (value: string) => readConfig({ READER_TOKENS }, { READER_TOKENS: value }).READER_TOKENS;

test('READER_TOKENS maps system names to tokens, which may end with an equals sign', () => {
  expect(read('billing=0123456789abcde=,crm=fedcba9876543210')).toEqual(
    new Map([
      ['billing', '0123456789abcde='],
      ['crm', 'fedcba9876543210'],
    ]),
  );
  expect(read('')).toEqual(new Map());
});

test.each([
  'billing',
  'billing=short',
  'Billing=0123456789abcdef',
  '=0123456789abcdef',
  'a=0123456789abcdef,a=fedcba9876543210',
])('READER_TOKENS=%s is rejected without being quoted', (value) => {
  expect(() => read(value)).toThrow(/READER_TOKENS is wrong/);
  expect(() => read(value)).not.toThrow(/0123456789abcdef/);
});
