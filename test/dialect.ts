/**
 * Words that this project used before decision 0027, and must not come back. No common English words: each has a term of the trade in
 * docs/glossary.md, which reads faster.
 */

/** Identifiers, environment variables, fields and file names. */
export const oldIdentifiers = [
  ...['PART_SECONDS', 'LINGER_SECONDS', 'END_SIDECAR', 'SILENCE_SECONDS', 'REPAIR_AFTER_SECONDS'],
  ...['lingerSeconds', 'endpointsSeconds', 'drainSeconds', 'silenceSeconds', 'repairSeconds', 'silenceMs'],
  ...['heardAt', 'missedSince', 'unheardSince', 'cameBack', 'comesBack', 'topicsOut', 'claimMissing', 'relayedAt'],
  ...['Journey', 'findJourney', 'HeardTopic', 'Hearing', 'KeptDelivery', 'keepFailed', 'keepEarly', 'findKept'],
  ...['putBack', 'PutBack', 'moveHeads', 'LostFact', 'recallFact', 'notRecalled', 'Overtaken'],
  ...[
    'partWhenLeaving',
    'Neighbours',
    'Neighbourhood',
    'rememberSessions',
    'mustOwn',
    'wroteOutbox',
    'momentOfRaising',
    'LogInLimits',
    'lastWords',
  ],
] as const;

/** Phrases, in any case. */
export const oldPhrases = [
  'came back',
  'has come back',
  'comes back from',
  'is told to',
  'are told to',
  'whoever has',
  'whoever is',
  'nobody else',
  'unless told',
  'hears a topic',
  'who hears',
  'is heard',
  'was heard',
  'states a fact',
  'a fact is',
  'puts a system right',
  'is put right',
  'goes deaf',
  'deaf subscription',
  'in the words of',
] as const;
