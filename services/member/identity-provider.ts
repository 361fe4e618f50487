/** The outside party that finds out who people are. */
export interface IdentityProvider {
  /**
   * The person that a verification is about.
   * @param identityVerificationId as the provider gave it to the client that went through it
   * @throws DomainError `identity-verification-unknown`, `identity-not-verified` (failed, or not finished yet), `identity-without-ci`
   * @throws DependencyUnavailable `identity-provider-unavailable` when it cannot be asked now
   */
  find(identityVerificationId: string): Promise<VerifiedPerson>;
}

/** The provider knows more; what is not asked for cannot leak. */
export interface VerifiedPerson {
  /** Connecting information: names the same person in every service. */
  readonly ci: string;
}
