import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { moduleFolder } from '../../local/toolchain/go-build.ts';

/** Returns files with the CRDs of KEDA and the Prometheus operator that the charts use. */
export async function otherOperatorsCrds(): Promise<string[]> {
  const modules = {
    'github.com/kedacore/keda/v2': [
      'config/crd/bases/keda.sh_scaledobjects.yaml',
      'config/crd/bases/keda.sh_triggerauthentications.yaml',
    ],
    'github.com/prometheus-operator/prometheus-operator': [
      'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml',
    ],
  };
  const { stdout } = await promisify(execFile)('go', ['mod', 'download', '-json', ...Object.keys(modules)], {
    cwd: moduleFolder('crds'),
  });
  const downloaded: { Path: string; Dir: string }[] = JSON.parse(`[${stdout.replaceAll(/\}\s*\{/g, '},{')}]`);
  return downloaded.flatMap(({ Path, Dir }) => modules[Path as keyof typeof modules].map((file) => join(Dir, file)));
}
