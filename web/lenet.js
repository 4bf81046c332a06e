// Runs a model by lenet.wasm, in a browser or in Node. Nothing else is loaded or sent.
//
//     const model = await openModel(await fetch('lenet.wasm'), {program, params, preprocess});
//     const {answer} = model.classify({pixels, height, width, channels});

// What the C++ library asks the system for: the time, and nothing of the page.
function system(memory) {
  const set = (at, value) => new DataView(memory().buffer).setUint32(at, value, true);
  return {
    env: { emscripten_notify_memory_growth() {} },
    wasi_snapshot_preview1: {
      clock_time_get(_clock, _precision, at) {
        const nanoseconds = BigInt(Math.round(performance.now() * 1e6));
        new DataView(memory().buffer).setBigUint64(at, nanoseconds, true);
        return 0;
      },
      environ_sizes_get(count, size) {
        set(count, 0);
        set(size, 0);
        return 0;
      },
      environ_get: () => 0,
      proc_exit(code) {
        throw new Error(`lenet.wasm ended with ${code}`);
      },
    },
  };
}

/**
 * Loads the module and a model.
 * @param source lenet.wasm: a Response, or its bytes
 * @param files Uint8Array each: `program` (.pdmodel), `params` (.pdiparams), `preprocess` (.json)
 * @throws Error with what is wrong with the model
 */
export async function openModel(source, { program, params, preprocess }) {
  let exported = null;
  const imports = system(() => exported.memory);
  const { instance } =
    typeof Response !== 'undefined' && source instanceof Response
      ? await WebAssembly.instantiateStreaming(source, imports)
      : await WebAssembly.instantiate(source, imports);
  exported = instance.exports;
  exported._initialize();

  // Copies arrays into the module's memory for the length of a call.
  function call(name, arrays, ...numbers) {
    const places = arrays.map((array) => exported.lenet_alloc(array.byteLength || 1));
    try {
      if (places.includes(0)) throw new Error('there is not enough memory');
      const bytes = new Uint8Array(exported.memory.buffer);
      arrays.forEach((array, i) =>
        bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), places[i]));
      return block(exported[name](...numbers.map((n) => (typeof n === 'function' ? n(places) : n))));
    } finally {
      places.forEach((place) => exported.lenet_free(place));
    }
  }

  // What a call gives: where values are, and their shape.
  function block(at) {
    if (at === 0) {
      const text = new Uint8Array(exported.memory.buffer, exported.lenet_error());
      throw new Error(new TextDecoder().decode(text.slice(0, text.indexOf(0))));
    }
    const [data, ...shape] = new Int32Array(exported.memory.buffer, at, 5);
    const count = shape.reduce((a, b) => a * b);
    const values = (Type) => new Type(exported.memory.buffer, data, count).slice();
    return { shape, values };
  }

  const place = (i) => (places) => places[i];
  const input = call('lenet_open', [program, params, preprocess], place(0), program.length,
                     place(1), params.length, place(2), preprocess.length).shape;

  return {
    // [N, channels, height, width]; -1: any. Where preprocess.json has no ToCHW, the channels are
    // the last of the four, here and below.
    inputShape: input,

    /** Prepares an image as preprocess.json says and runs it: `seen`, pixels [height, width,
     *  channels] as the model gets them, and `answer`, its output. */
    classify({ pixels, height, width, channels }) {
      const seen = call('lenet_prepare', [pixels], place(0), height, width, channels);
      const prepared = { pixels: seen.values(Uint8Array), shape: seen.shape };
      return { seen: prepared, answer: block(exported.lenet_answer()).values(Float32Array) };
    },

    /** The image of the last `classify` as the model gets it: `shape`, [1, channels, height, width],
     *  and `values`, float32. */
    prepared() {
      const { shape, values } = block(exported.lenet_values());
      return { shape, values: values(Float32Array) };
    },

    /** Runs the image of the last `classify` once more. */
    again: () => block(exported.lenet_answer()).values(Float32Array),

    /** Runs images [N, channels, height, width]: Float32Array in the model's unit, or Uint8Array,
     *  which is divided by 255 where the model takes float32. Height and width are needed where the
     *  model takes any; one whose channels come last has to declare them. */
    run(images, height = input[2], width = input[3]) {
      const image = [1, height, width].reduce((size, given, i) =>
        size * (input[i + 1] < 0 ? given : input[i + 1]), 1);
      const places = images instanceof Uint8Array ? [0, place(0)] : [place(0), 0];
      const count = images.length / image;
      return call('lenet_run', [images], ...places, count, height, width).values(Float32Array);
    },

    /** What the first convolutions give for the image of the last `classify`: each `shape`
     *  [1, channels, height, width] and `values`. */
    layers() {
      const found = [];
      for (;;) {
        const { shape, values } = block(exported.lenet_show(found.length));
        if (shape[1] === 0) return found;
        found.push({ shape, values: values(Float32Array) });
      }
    },
  };
}
