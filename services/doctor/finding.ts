/** Something that is wrong, or will be. */
export interface Finding {
  /** The resource: `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** What to do about it. */
  readonly remedy: string;
}

export const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });

export const restart = (app: string): string => `kubectl rollout restart deployment/${app}`;
