// Plays dispatches on Dawn for `dawn.rs`: node dawn.mjs PACKAGES, where PACKAGES holds node_modules/webgpu.
//
// A dispatch comes on standard input as a line of JSON (key, source where the key is new, groups, lengths in bytes) and the bytes
// of parameters, inputs and outputs in binding order. The answer is a line of JSON and the bytes of the outputs, or an error.
import { readSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const packages = resolve(process.argv[2]);
const entry = createRequire(join(packages, 'index.js')).resolve('webgpu');
const { create, globals } = await import(pathToFileURL(entry));
Object.assign(globalThis, globals);

const gpu = create(['backend=vulkan']);
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error('Dawn finds no Vulkan adapter');
const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
const device = await adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
const pipelines = new Map();

function readExactly(bytes) {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; ) {
    const count = readSync(0, buffer, at, bytes - at, null);
    if (count === 0) process.exit(0);
    at += count;
  }
  return buffer;
}

function readLine() {
  const bytes = [];
  for (;;) {
    const byte = readExactly(1)[0];
    if (byte === 10) return Buffer.from(bytes).toString('utf8');
    bytes.push(byte);
  }
}

function writeAll(buffer) {
  for (let at = 0; at < buffer.length; ) at += writeSync(1, buffer, at);
}

const say = value => writeAll(Buffer.from(JSON.stringify(value) + '\n'));

function pipeline({ key, source }) {
  if (source) {
    const module = device.createShaderModule({ code: source });
    pipelines.set(key, device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } }));
  }
  return pipelines.get(key);
}

function filled(usage, bytes) {
  const buffer = device.createBuffer({ size: bytes.length, usage: usage | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(buffer, 0, bytes);
  return buffer;
}

async function play(head, params, reads, writes) {
  device.pushErrorScope('validation');
  const program = pipeline(head);
  const inputs = reads.map(bytes => filled(GPUBufferUsage.STORAGE, bytes));
  const outputs = writes.map(bytes => filled(GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC, bytes));
  const all = [filled(GPUBufferUsage.UNIFORM, params), ...inputs, ...outputs];
  const entries = all.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(program);
  pass.setBindGroup(0, device.createBindGroup({ layout: program.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(...head.groups);
  pass.end();
  const staged = outputs.map(output => {
    const staging = device.createBuffer({ size: output.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    encoder.copyBufferToBuffer(output, 0, staging, 0, output.size);
    return staging;
  });
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error) return say({ error: error.message });
  await Promise.all(staged.map(staging => staging.mapAsync(GPUMapMode.READ)));
  say({});
  for (const staging of staged) writeAll(Buffer.from(staging.getMappedRange()));
  for (const buffer of [...all, ...staged]) buffer.destroy();
}

say({
  name: adapter.info.description || adapter.info.device,
  binding: Number(device.limits.maxStorageBufferBindingSize),
  buffer: Number(device.limits.maxBufferSize),
  alignment: Number(device.limits.minStorageBufferOffsetAlignment),
});
for (;;) {
  const head = JSON.parse(readLine());
  const params = readExactly(head.params);
  const reads = head.reads.map(readExactly);
  await play(head, params, reads, head.writes.map(readExactly));
}
