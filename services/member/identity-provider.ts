/** Port to the external service that verifies identities of persons. */
export interface IdentityProvider {
  /**
   * Returns the person of a completed verification.
   * @param identityVerificationId id that the provider gave to the client
   * @throws DomainError `identity-verification-unknown`, `identity-not-verified` (failed, or not completed yet), `identity-without-ci`
   * @throws DependencyUnavailable `identity-provider-unavailable`
   */
  find(identityVerificationId: string): Promise<VerifiedPerson>;
}

/** Only what is needed: other data of the person is not read, so it cannot leak. */
export interface VerifiedPerson {
  /** Connecting information: identifies the same person in every Korean service. */
  readonly ci: string;
}
