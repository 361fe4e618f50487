import { type Fixture, type Lamp, openFixture } from '../fixture.ts';

/** Opened by `open`, disposed by `close`. */
export let fixture: Fixture;
export async function open() {
  fixture = await openFixture();
}
export const close = () => fixture[Symbol.asyncDispose]();

export const storedEvents = (lamp: Lamp) => fixture.storedEvents(lamp);
export const typesOf = (lamp: Lamp) => fixture.typesOf(lamp);
export const install = (place?: string) => fixture.install(place);
