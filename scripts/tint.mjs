// Compiles WGSL files with Tint, the compiler of Chrome and Dawn: node tint.mjs PACKAGES FOLDER
//
// PACKAGES holds node_modules/webgpu, FOLDER the files. Prints every message of the kind error and warning; exits 1 if there is
// an error, or if Tint takes one of the shaders below that break the standard.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, folder] = process.argv.slice(2).map(path => resolve(path));
const entry = createRequire(join(packages, 'index.js')).resolve('webgpu');
const { create, globals } = await import(pathToFileURL(entry));
Object.assign(globalThis, globals);

// naga takes both.
const REFUSED = {
  'a barrier under control flow on a private variable': `
    var<private> rounds: u32;
    @compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>) {
      rounds = group.x;
      for (var i = 0u; i < rounds; i++) { workgroupBarrier(); }
    }`,
  'mixed | and <<': `
    @group(0) @binding(0) var<storage, read_write> x: array<u32>;
    @compute @workgroup_size(1) fn main() { x[0] = x[1] | x[2] << 16u; }`,
};

// No driver: the messages come from the front end.
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups'] });

// The pipeline is made too, since it meets the default limits of WebGPU.
async function messages(code) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const info = await module.getCompilationInfo();
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const scope = await device.popErrorScope();
  const found = info.messages.filter(message => message.type !== 'info');
  if (scope && !found.some(message => message.type === 'error')) {
    found.push({ type: 'error', lineNum: 0, message: scope.message });
  }
  return found;
}

let failures = 0;
for (const [what, code] of Object.entries(REFUSED)) {
  if (!(await messages(code)).some(message => message.type === 'error')) {
    failures++;
    console.error(`Tint takes ${what}: this check sees no faults`);
  }
}
const files = readdirSync(folder).filter(file => file.endsWith('.wgsl')).sort();
for (const file of files) {
  const found = await messages(readFileSync(join(folder, file), 'utf8'));
  for (const { type, lineNum, message } of found) {
    console.error(`${file}:${lineNum}: ${type}: ${message}`);
  }
  if (found.some(message => message.type === 'error')) failures++;
}
console.log(`Tint: ${files.length} variants, ${failures} refused`);
process.exit(failures > 0 || files.length === 0 ? 1 : 0);
