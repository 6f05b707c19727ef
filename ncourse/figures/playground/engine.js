// The training engine of the playground: data, a small network, SGD, and collapse measured as by
// `ncourse.metrics`. A module without imports; at its end it serves as a Worker.
//
// Rows are vectors. A matrix is a Float64Array, row after row: features (N, d), class means (K, d).
// Only weights are kept transposed, (inputs, outputs), so that one product serves both directions.
// Float64 is not slower here than Float32: what a batch needs stays in the cache either way.

// --- settings -------------------------------------------------------------------------------------

export const DEFAULTS = {
  seed: 1,
  data: "digits", // "digits", "clouds", "spirals" or "placed"
  points: [], // for "placed": [x, y, class], x and y in -1..1
  classes: 3, // K, 2 to 5
  samples: 144, // of each class, at most 144
  imbalance: 1, // the later half of the classes has 1/imbalance as many
  label_noise: 0, // share of the training labels that are shuffled; 1: random labels
  depth: 2, // hidden layers
  width: 64,
  features: 2, // d, 2 or 3
  layer_norm: "hidden", // "none", before each ReLU ("hidden"), or of the features ("end")
  fixed_simplex: false, // the classifier is a simplex ETF and is not trained
  bias: true, // of the classifier
  loss: "cross_entropy", // or "squared_error": sum over classes, mean over samples
  weight_decay: 0.005, // on every parameter that is trained
  learning_rate: 0.05,
  momentum: 0.9,
  batch: 64,
  epochs: 200, // where the page pauses
};

const RANGES = {
  seed: [0, 2 ** 31], classes: [2, 5], samples: [4, 144], imbalance: [1, 100], label_noise: [0, 1],
  depth: [0, 8], width: [2, 128], features: [2, 3], weight_decay: [0, 1], learning_rate: [0, 10],
  momentum: [0, 0.999], batch: [1, 1024], epochs: [1, 10000],
};
const WHOLE = ["seed", "classes", "samples", "depth", "width", "features", "batch", "epochs"];
const WORDS = {
  data: ["digits", "clouds", "spirals", "placed"],
  loss: ["cross_entropy", "squared_error"],
  layer_norm: ["none", "hidden", "end"],
};

/** All settings, those given over the defaults. Throws an Error that says what to change. */
export function settle(given) {
  const settings = { ...DEFAULTS, ...given };
  for (const [name, value] of Object.entries(settings)) {
    const range = RANGES[name];
    if (!(name in DEFAULTS))
      throw new Error(`there is no setting ${name}; there are ${Object.keys(DEFAULTS).join(", ")}`);
    if (range && !(typeof value === "number" && value >= range[0] && value <= range[1]))
      throw new Error(`${name} is ${value}; expected ${range[0]} to ${range[1]}`);
    if (WHOLE.includes(name) && !Number.isInteger(value))
      throw new Error(`${name} is ${value}; expected a whole number`);
    if (WORDS[name] && !WORDS[name].includes(value))
      throw new Error(`${name} is ${value}; expected one of ${WORDS[name].join(", ")}`);
    if (typeof DEFAULTS[name] === "boolean" && typeof value !== "boolean")
      throw new Error(`${name} is ${value}; expected true or false`);
  }
  const { classes, features } = settings;
  if (settings.fixed_simplex && features < classes - 1)
    throw new Error(`a simplex of ${classes} classes needs ${classes - 1} features: take more ` +
      "features, fewer classes, or a classifier that is trained");
  if (settings.layer_norm === "end" && features < 3)
    throw new Error("normalised, two features keep nothing but a sign: take 3 features");
  if (settings.data === "placed")
    for (let k = 0; k < classes; k++)
      if (!settings.points.some((point) => point[2] === k))
        throw new Error(`class ${k} has no point yet: place one`);
  return settings;
}

// --- random numbers -------------------------------------------------------------------------------

/** Uniform numbers in [0, 1) from a seed and the name of what they are for. */
export function generator(seed, purpose) {
  let state = seed >>> 0;
  const next = () => { // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  for (const letter of purpose) state = Math.floor(next() * 2 ** 32) ^ letter.charCodeAt(0);
  return next;
}

const normal = (random) =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

function shuffle(array, random) {
  for (let i = array.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [array[i], array[j]] = [array[j], array[i]];
  }
  return array;
}

// --- data -----------------------------------------------------------------------------------------

const DIGITS = 5, PER_DIGIT = 174, TESTS = 30, PIXELS = 64;

/** The 174 images of each of five digits, (870, 64) shades 0 to 8, out of `digits.txt`. */
export async function unpackDigits(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const columns = new Uint8Array(await new Response(stream).arrayBuffer());
  const number = DIGITS * PER_DIGIT;
  const images = new Uint8Array(columns.length);
  for (let pixel = 0; pixel < PIXELS; pixel++)
    for (let i = 0; i < number; i++) images[i * PIXELS + pixel] = columns[pixel * number + i];
  return images;
}

/**
 * Training and test samples: {size, inputs (N, size), labels (N), images (N) or null, tests: the
 * same}. `labels` are those that are trained on; `truth` has them before any was shuffled.
 */
export function makeData(settings, digits) {
  const { seed, data, classes, samples, imbalance, label_noise } = settings;
  const random = generator(seed, "data");
  const train = [], test = []; // {input, label, image}
  for (let k = 0; k < classes; k++) {
    const minority = k >= Math.ceil(classes / 2);
    const number = Math.max(2, Math.round(minority ? samples / imbalance : samples));
    if (data === "digits") {
      // The last thirty of each digit are the test, whatever the seed.
      const order = shuffle([...Array(PER_DIGIT - TESTS).keys()], random).slice(0, number);
      const sample = (i) => {
        const image = k * PER_DIGIT + i;
        const input = Array.from(
          digits.subarray(image * PIXELS, (image + 1) * PIXELS), (shade) => shade / 8);
        return { input, label: k, image };
      };
      train.push(...order.map(sample));
      for (let i = PER_DIGIT - TESTS; i < PER_DIGIT; i++) test.push(sample(i));
    } else if (data === "placed") {
      for (const [x, y, label] of settings.points)
        if (label === k) train.push({ input: [x, y], label: k, image: null });
    } else {
      const draw = data === "clouds" ? cloud : spiral;
      for (let i = 0; i < number; i++)
        train.push({ input: draw(k, classes, random), label: k, image: null });
      for (let i = 0; i < TESTS; i++)
        test.push({ input: draw(k, classes, random), label: k, image: null });
    }
  }
  const size = train[0].input.length;
  const mean = Array.from({ length: size }, (_, i) =>
    train.reduce((sum, sample) => sum + sample.input[i], 0) / train.length);
  const shift = data === "digits" ? mean : mean.map(() => 0); // as `ncourse.data`: minus the mean
  const pack = (list) => ({
    inputs: Float64Array.from(list.flatMap((one) => one.input.map((x, i) => x - shift[i]))),
    labels: Int32Array.from(list, (one) => one.label),
    images: data === "digits" ? Int32Array.from(list, (one) => one.image) : null,
  });
  const made = { size, ...pack(train), tests: pack(test) };
  made.truth = made.labels.slice();
  // Shuffled among themselves, labels keep the size of each class.
  const noise = generator(seed, "noise");
  const chosen = shuffle([...train.keys()], noise).slice(0, Math.round(label_noise * train.length));
  const moved = shuffle(chosen.map((i) => made.truth[i]), noise);
  chosen.forEach((i, at) => { made.labels[i] = moved[at]; });
  return made;
}

function cloud(k, classes, random) {
  const angle = (2 * Math.PI * k) / classes + 0.5;
  return [0.6 * Math.cos(angle) + 0.16 * normal(random), 0.6 * Math.sin(angle) + 0.16 * normal(random)];
}

function spiral(k, classes, random) {
  const radius = 0.08 + 0.87 * random();
  const angle = (2 * Math.PI * k) / classes + 4 * radius + 0.08 * normal(random);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

// --- the network ----------------------------------------------------------------------------------

/**
 * C (rows, columns) += A B, with B (inner, columns); entry (r, i) of A is at r * down + i * right.
 * Four rows of B at a time: this loop is where the time goes.
 */
function addProduct(C, A, B, rows, inner, columns, down, right) {
  for (let r = 0; r < rows; r++) {
    const start = r * columns, end = start + columns;
    let i = 0;
    for (; i + 3 < inner; i += 4) {
      const at = r * down + i * right;
      const a = A[at], b = A[at + right], c = A[at + 2 * right], d = A[at + 3 * right];
      if (a === 0 && b === 0 && c === 0 && d === 0) continue;
      let p = i * columns, q = p + columns, s = q + columns, t = s + columns;
      for (let j = start; j < end; j++)
        C[j] += a * B[p++] + b * B[q++] + c * B[s++] + d * B[t++];
    }
    for (; i < inner; i++) {
      const a = A[r * down + i * right];
      for (let j = start, p = i * columns; j < end; j++) C[j] += a * B[p++];
    }
  }
}

function transposed(matrix, rows, columns) {
  const made = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) made[c * rows + r] = matrix[r * columns + c];
  return made;
}

const parameter = (value) => ({
  value, gradient: new Float64Array(value.length), velocity: new Float64Array(value.length),
});

/** x W + b, with W (inputs, outputs). */
class Linear {
  constructor(inputs, outputs, weight, { bias = true, trained = true } = {}) {
    Object.assign(this, { inputs, outputs });
    this.weight = parameter(weight);
    this.bias = bias ? parameter(new Float64Array(outputs)) : null;
    this.parameters = [...(trained ? [this.weight] : []), ...(bias ? [this.bias] : [])];
    this.trained = trained;
  }
  forward(x, rows) {
    this.x = x;
    const y = new Float64Array(rows * this.outputs);
    if (this.bias)
      for (let r = 0; r < rows; r++) y.set(this.bias.value, r * this.outputs);
    addProduct(y, x, this.weight.value, rows, this.inputs, this.outputs, this.inputs, 1);
    return y;
  }
  backward(slope, rows, first) {
    const { inputs, outputs, weight, bias } = this;
    if (this.trained) {
      weight.gradient.fill(0);
      addProduct(weight.gradient, this.x, slope, inputs, rows, outputs, 1, inputs);
    }
    if (bias) {
      bias.gradient.fill(0);
      for (let i = 0; i < rows * outputs; i++) bias.gradient[i % outputs] += slope[i];
    }
    if (first) return null;
    const made = new Float64Array(rows * inputs);
    addProduct(made, slope, transposed(weight.value, inputs, outputs), rows, outputs, inputs, outputs, 1);
    return made;
  }
}

class ReLU {
  parameters = [];
  forward(x) {
    const y = (this.y = new Float64Array(x.length)); // loops: `map` takes several times as long
    for (let i = 0; i < x.length; i++) y[i] = x[i] > 0 ? x[i] : 0;
    return y;
  }
  backward(slope) {
    const made = new Float64Array(slope.length), { y } = this;
    for (let i = 0; i < slope.length; i++) made[i] = y[i] > 0 ? slope[i] : 0;
    return made;
  }
}

/** Each row minus its mean, over its standard deviation, times a gain, plus a bias. */
class LayerNorm {
  constructor(size) {
    this.size = size;
    this.gain = parameter(new Float64Array(size).fill(1));
    this.bias = parameter(new Float64Array(size));
    this.parameters = [this.gain, this.bias];
  }
  forward(x, rows) {
    const { size, gain, bias } = this;
    const unit = (this.normal = new Float64Array(x.length));
    this.scale = new Float64Array(rows);
    const y = new Float64Array(x.length);
    for (let r = 0; r < rows; r++) {
      const start = r * size, end = start + size;
      let sum = 0, squares = 0;
      for (let i = start; i < end; i++) sum += x[i];
      const mean = sum / size;
      for (let i = start; i < end; i++) squares += (x[i] - mean) * (x[i] - mean);
      const scale = (this.scale[r] = 1 / Math.sqrt(squares / size + 1e-5));
      for (let i = start; i < end; i++) {
        unit[i] = (x[i] - mean) * scale;
        y[i] = unit[i] * gain.value[i - start] + bias.value[i - start];
      }
    }
    return y;
  }
  backward(slope, rows) {
    const { size, gain, bias, normal: unit } = this;
    gain.gradient.fill(0);
    bias.gradient.fill(0);
    const made = new Float64Array(slope.length);
    for (let r = 0; r < rows; r++) {
      let mean = 0, along = 0;
      for (let i = 0; i < size; i++) {
        const at = r * size + i, inner = slope[at] * gain.value[i];
        gain.gradient[i] += slope[at] * unit[at];
        bias.gradient[i] += slope[at];
        mean += inner / size;
        along += (inner * unit[at]) / size;
      }
      for (let i = 0; i < size; i++) {
        const at = r * size + i;
        made[at] = this.scale[r] * (slope[at] * gain.value[i] - mean - unit[at] * along);
      }
    }
    return made;
  }
}

/** K unit vectors with all cosines -1/(K-1), (K, d), as `ncourse.simplex` builds them, not turned. */
export function simplexETF(classes, dim) {
  const made = new Float64Array(classes * dim);
  const scale = Math.sqrt(classes / (classes - 1));
  for (let k = 1; k < classes; k++) {
    for (let c = 0; c < k; c++) made[c * dim + k - 1] = scale / Math.sqrt(k * (k + 1));
    made[k * dim + k - 1] = (-scale * k) / Math.sqrt(k * (k + 1));
  }
  return made;
}

/** Mean loss of the logits (n, K), and its slope. */
function lossAndSlope(kind, logits, labels, rows, classes) {
  const slope = new Float64Array(rows * classes);
  let loss = 0;
  for (let r = 0; r < rows; r++) {
    const at = r * classes, own = at + labels[r];
    if (kind === "squared_error") {
      for (let i = at; i < at + classes; i++) {
        const gap = logits[i] - (i === own ? 1 : 0);
        loss += (gap * gap) / rows;
        slope[i] = (2 * gap) / rows;
      }
      continue;
    }
    let largest = -Infinity, sum = 0;
    for (let i = at; i < at + classes; i++) largest = Math.max(largest, logits[i]);
    for (let i = at; i < at + classes; i++) sum += Math.exp(logits[i] - largest);
    for (let i = at; i < at + classes; i++)
      slope[i] = (Math.exp(logits[i] - largest) / sum - (i === own ? 1 : 0)) / rows;
    loss += (Math.log(sum) + largest - logits[own]) / rows;
  }
  return { loss, slope };
}

// --- a run ----------------------------------------------------------------------------------------

/** One network in training: `step` a batch, `epoch` a pass, `measure` at any time. */
export class Run {
  constructor(given, digits) {
    const settings = (this.settings = settle(given));
    this.data = makeData(settings, digits);
    const { seed, classes, features, width, depth } = settings;
    const random = generator(seed, "weights");
    // He's initial weights; biases start at zero.
    const weights = (inputs, outputs, gain) =>
      Float64Array.from({ length: inputs * outputs }, () => normal(random) * Math.sqrt(gain / inputs));
    const sizes = [this.data.size, ...Array(depth).fill(width)];
    this.body = [];
    for (let i = 1; i < sizes.length; i++) {
      const [inputs, outputs] = [sizes[i - 1], sizes[i]];
      this.body.push(new Linear(inputs, outputs, weights(inputs, outputs, 2)));
      if (settings.layer_norm === "hidden") this.body.push(new LayerNorm(outputs));
      this.body.push(new ReLU());
    }
    const last = sizes.at(-1);
    this.body.push(new Linear(last, features, weights(last, features, 1)));
    if (settings.layer_norm === "end") this.body.push(new LayerNorm(features));
    const start = weights(features, classes, 1);
    this.classifier = settings.fixed_simplex
      ? new Linear(features, classes, transposed(simplexETF(classes, features), classes, features),
          { bias: false, trained: false })
      : new Linear(features, classes, start, { bias: settings.bias });
    this.layers = [...this.body, this.classifier];
    this.parameters = this.layers.flatMap((layer) => layer.parameters);
    this.order = generator(seed, "order");
    this.epochs = 0;
  }

  /** Features (N, d) of inputs. */
  featuresOf(inputs) {
    return this.body.reduce((x, layer) => layer.forward(x, inputs.length / this.data.size), inputs);
  }

  /** One step of SGD on the samples with these indices; the batch's loss before it. */
  step(batch) {
    const { settings, data } = this, rows = batch.length;
    const inputs = new Float64Array(rows * data.size);
    batch.forEach((i, r) =>
      inputs.set(data.inputs.subarray(i * data.size, (i + 1) * data.size), r * data.size));
    const labels = batch.map((i) => data.labels[i]);
    const features = this.body.reduce((x, layer) => layer.forward(x, rows), inputs);
    const logits = this.classifier.forward(features, rows);
    let { loss, slope } = lossAndSlope(settings.loss, logits, labels, rows, settings.classes);
    for (let i = this.layers.length - 1; i >= 0; i--)
      slope = this.layers[i].backward(slope, rows, i === 0);
    const { learning_rate, momentum, weight_decay } = settings;
    for (const { value, gradient, velocity } of this.parameters)
      for (let i = 0; i < value.length; i++) {
        velocity[i] = momentum * velocity[i] + gradient[i] + weight_decay * value[i];
        value[i] -= learning_rate * velocity[i];
      }
    return loss;
  }

  /** The batches of the next pass over the training samples. */
  batches() {
    const order = shuffle([...this.data.labels.keys()], this.order);
    const made = [];
    for (let i = 0; i < order.length; i += this.settings.batch)
      made.push(order.slice(i, i + this.settings.batch));
    return made;
  }

  epoch() {
    for (const batch of this.batches()) this.step(batch);
    this.epochs += 1;
  }

  /** What is shown: errors, loss, norm of the weights, NC1 to NC4, features of both splits. */
  measure() {
    const { data, settings, classifier } = this, { classes, features: dim } = settings;
    const features = this.featuresOf(data.inputs);
    const logits = classifier.forward(features, data.labels.length);
    const testFeatures = this.featuresOf(data.tests.inputs);
    const testLogits = classifier.forward(testFeatures, data.tests.labels.length);
    const weight = transposed(classifier.weight.value, dim, classes);
    const bias = classifier.bias && classifier.bias.value.slice();
    let squares = 0;
    for (const { value } of this.parameters) for (const x of value) squares += x * x;
    return {
      epoch: this.epochs,
      loss: lossAndSlope(settings.loss, logits, data.labels, data.labels.length, classes).loss,
      train_error: errorRate(logits, data.labels, classes),
      test_error: errorRate(testLogits, data.tests.labels, classes),
      weight_norm: Math.sqrt(squares),
      ...measure(features, data.labels, weight, bias, classes, dim),
      features, testFeatures, weight, bias,
    };
  }
}

function largest(scores, at, classes) {
  let best = 0;
  for (let k = 1; k < classes; k++) if (scores[at + k] > scores[at + best]) best = k;
  return best;
}

function errorRate(logits, labels, classes) {
  let wrong = 0;
  for (let i = 0; i < labels.length; i++)
    if (largest(logits, i * classes, classes) !== labels[i]) wrong += 1;
  return wrong / labels.length; // NaN without samples
}

// --- measuring ------------------------------------------------------------------------------------

/** Singular values (largest first) and right singular vectors, as rows, of a (rows, dim) matrix. */
export function singularValues(matrix, rows, dim) {
  const A = matrix.slice();
  const V = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) V[i * dim + i] = 1;
  for (let sweep = 0; sweep < 30; sweep++) { // one-sided Jacobi: turn columns until orthogonal
    let turned = false;
    for (let p = 0; p < dim; p++)
      for (let q = p + 1; q < dim; q++) {
        let pp = 0, qq = 0, pq = 0;
        for (let r = 0; r < rows; r++) {
          pp += A[r * dim + p] ** 2;
          qq += A[r * dim + q] ** 2;
          pq += A[r * dim + p] * A[r * dim + q];
        }
        if (Math.abs(pq) <= 1e-16 * Math.sqrt(pp * qq)) continue;
        turned = true;
        const zeta = (qq - pp) / (2 * pq);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent), sine = cosine * tangent;
        const turn = (M, count) => {
          for (let r = 0; r < count; r++) {
            const x = M[r * dim + p], y = M[r * dim + q];
            M[r * dim + p] = cosine * x - sine * y;
            M[r * dim + q] = sine * x + cosine * y;
          }
        };
        turn(A, rows);
        turn(V, dim);
      }
    if (!turned) break;
  }
  const found = [];
  for (let c = 0; c < dim; c++) {
    let squares = 0;
    for (let r = 0; r < rows; r++) squares += A[r * dim + c] ** 2;
    const direction = Float64Array.from({ length: dim }, (_, i) => V[i * dim + c]);
    found.push({ value: Math.sqrt(squares), direction });
  }
  return found.sort((a, b) => b.value - a.value);
}

const norm = (vector) => Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
const row = (matrix, r, dim) => matrix.subarray(r * dim, (r + 1) * dim);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

/**
 * `ncourse.metrics.measure(features, labels, weight, bias)` with its default convention, "papyan":
 * the global mean is the mean of class means, each class weighs 1/K, NC1 is tr(S_W S_B^+). The names
 * are those of `CollapseReport`; `smallest_angle`, in degrees, is between two class means as seen from
 * the origin: the largest entry beside the diagonal of `ncourse.simplex.cosine_matrix(means)`.
 */
export function measure(features, labels, weight, bias, classes, dim) {
  const number = labels.length;
  const counts = new Float64Array(classes), means = new Float64Array(classes * dim);
  for (let i = 0; i < number; i++) {
    counts[labels[i]] += 1;
    for (let c = 0; c < dim; c++) means[labels[i] * dim + c] += features[i * dim + c];
  }
  for (let k = 0; k < classes; k++) for (let c = 0; c < dim; c++) means[k * dim + c] /= counts[k];
  const centred = means.slice();
  for (let c = 0; c < dim; c++) {
    let mean = 0;
    for (let k = 0; k < classes; k++) mean += means[k * dim + c] / classes;
    for (let k = 0; k < classes; k++) centred[k * dim + c] -= mean;
  }
  const scale = Math.sqrt(1 / classes);
  const eps = Math.max(classes, dim) * Number.EPSILON;
  const kept = singularValues(centred, classes, dim)
    .slice(0, classes - 1)
    .filter(({ value }) => value > eps * norm(means) && value ** 2 > 0);
  let nc1 = kept.length ? 0 : Infinity, different = 0;
  for (let i = 0; i < number; i++) {
    const h = row(features, i, dim), own = row(means, labels[i], dim);
    for (const { value, direction } of kept) {
      let along = 0;
      for (let c = 0; c < dim; c++) along += (h[c] - own[c]) * direction[c];
      nc1 += (along / (scale * value)) ** 2 / number;
    }
    let decided = 0, nearest = 0, best = -Infinity, least = Infinity;
    for (let k = 0; k < classes; k++) {
      let score = bias ? bias[k] : 0, distance = 0;
      for (let c = 0; c < dim; c++) {
        score += weight[k * dim + c] * h[c];
        distance += (h[c] - means[k * dim + c]) ** 2;
      }
      if (score > best) [best, decided] = [score, k];
      if (distance < least) [least, nearest] = [distance, k];
    }
    if (decided !== nearest) different += 1;
  }
  const spectrum = singularValues(means, classes, dim);
  const independent = classes <= dim && spectrum[classes - 1].value > eps * norm(means);
  const sizes = Array.from({ length: classes }, (_, k) => norm(row(centred, k, dim)));
  const average = sizes.reduce((sum, x) => sum + x, 0) / classes;
  const spread = Math.sqrt(sizes.reduce((sum, x) => sum + (x - average) ** 2, 0) / (classes - 1));
  let deviation = 0, closest = -1;
  for (let a = 0; a < classes; a++)
    for (let b = 0; b < classes; b++) {
      if (a === b) continue;
      const size = sizes[a] * sizes[b];
      const cosine = size > 0 ? dot(row(centred, a, dim), row(centred, b, dim)) / size : 0;
      deviation += Math.abs(cosine + 1 / (classes - 1));
      const [u, v] = [row(means, a, dim), row(means, b, dim)];
      closest = Math.max(closest, dot(u, v) / (norm(u) * norm(v)));
    }
  const lengthW = norm(weight), lengthM = norm(centred);
  let duality = 0;
  for (let i = 0; i < weight.length; i++)
    duality += (weight[i] / lengthW - centred[i] / lengthM) ** 2;
  return {
    nc1,
    nc2_equinorm: average > 0 ? spread / average : Infinity,
    nc2_equiangular: average > 0 ? deviation / (classes * (classes - 1)) : Infinity,
    nc2_condition: independent ? spectrum[0].value / spectrum[classes - 1].value : Infinity,
    nc3: lengthW > 0 && lengthM > 0 ? duality : Infinity,
    nc4: different / number,
    smallest_angle: (Math.acos(Math.max(-1, Math.min(1, closest))) * 180) / Math.PI,
    means,
  };
}

// --- as a Worker ----------------------------------------------------------------------------------

// {reset: settings, digits} builds a run; {advance: n} trains n epochs and measures after each. The
// answer to either: {rows: what was measured, features and class means with the last one alone}.
if (typeof WorkerGlobalScope !== "undefined") {
  let run = null;
  let ready = Promise.resolve();
  const answer = async ({ data: asked }) => {
    const rows = [];
    try {
      if (asked.reset) {
        run = new Run(asked.reset, await unpackDigits(asked.digits));
        rows.push(run.measure());
      }
      for (let i = 0; i < (asked.advance || 0); i++) {
        run.epoch();
        const { features, testFeatures, means, weight, bias, ...numbers } = run.measure();
        const last = i === asked.advance - 1;
        rows.push(last ? { ...numbers, features, testFeatures, means, weight, bias } : numbers);
      }
    } catch (error) {
      postMessage({ id: asked.id, error: error.message });
      return;
    }
    const { size, labels, truth, images, inputs, tests } = run.data;
    const data = asked.reset && {
      labels, truth, images, testLabels: tests.labels, testImages: tests.images,
      inputs: size === 2 ? inputs : null,
    };
    postMessage({ id: asked.id, rows, data });
  };
  self.onmessage = (message) => { ready = ready.then(() => answer(message)); };
}
