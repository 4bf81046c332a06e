// node run_model.mjs FOLDER WORK: runs the model of a page on what a test has put into WORK, writes
// what it gives there, and prints what is refused.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, work] = process.argv.slice(2).map((path) => resolve(path));
const read = (name) => new Uint8Array(readFileSync(join(work, name)));
const write = (name, values) =>
  writeFileSync(join(work, name), Buffer.from(values.buffer, values.byteOffset, values.byteLength));
const { openModel } = await import(pathToFileURL(join(folder, 'lenet.js')));
const [module, program, params, preprocess] =
  ['lenet.wasm', 'model.pdmodel', 'model.pdiparams', 'preprocess.json'].map((name) =>
    new Uint8Array(readFileSync(join(folder, name))));

const model = await openModel(module, { program, params, preprocess });

const pixels = read('digits.u8'); // [1000, 1, 28, 28]
const values = Float32Array.from(pixels, (pixel) => Math.fround(pixel / 255));
const size = 784;
const count = pixels.length / size;
const one = new Float32Array(count * 10);
for (let i = 0; i < count; i++) one.set(model.run(values.subarray(i * size, (i + 1) * size)), i * 10);
write('one.f32', one);
write('pixels.f32', model.run(pixels));
write('batch.f32', model.run(values));

const [height, width] = [90, 120]; // of the photo, in colour
const { answer } = model.classify({ pixels: read('photo.u8'), height, width, channels: 3 });
write('photo.f32', answer);
write('values.f32', model.prepared().values);
model.layers().forEach((layer, i) => write(`layer${i}.f32`, layer.values));

// The same photo by steps that resize and crop; then what is refused, and that the model goes on.
const steps = await openModel(module, { program, params, preprocess: read('steps.json') });
steps.classify({ pixels: read('photo.u8'), height, width, channels: 3 });
write('steps.f32', steps.prepared().values);
const errors = [];
const refused = async (work) => {
  try {
    await work();
  } catch (error) {
    errors.push(error.message);
  }
};
const blank = { pixels: new Uint8Array(40 * 40).fill(255), height: 40, width: 40, channels: 1 };
await refused(() => model.classify(blank));
await refused(() => model.run(new Float32Array(size).fill(NaN)));
await refused(() => openModel(module, { program, params: params.slice(0, 1000), preprocess }));
await refused(() => openModel(module, { program: params, params, preprocess }));
await refused(() => openModel(module, { program, params, preprocess: params }));
write('again.f32', model.run(values.subarray(0, size)));
console.log(JSON.stringify(errors));
