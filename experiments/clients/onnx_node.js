// Classifies images with an exported ONNX file and ONNX Runtime in Node, and prints one class index per line.
//
//     npm install --ignore-scripts onnxruntime-node     (its scripts would download CUDA libraries)
//     node onnx_node.js MODEL.onnx IMAGES               IMAGES: an uncompressed uint8 IDX file, as in MNIST

const fs = require("fs");
const ort = require("onnxruntime-node");

async function main(model, path) {
  const file = fs.readFileSync(path);
  const [count, height, width] = [4, 8, 12].map((offset) => file.readUInt32BE(offset));
  const session = await ort.InferenceSession.create(model);
  const size = height * width;
  for (let start = 0; start < count; start += 1000) {
    const n = Math.min(1000, count - start);
    const pixels = new Uint8Array(file.subarray(16 + start * size, 16 + (start + n) * size));
    const images = new ort.Tensor("uint8", pixels, [n, height, width]);
    const { classes } = await session.run({ images }, ["classes"]);
    console.log(Array.from(classes.data).join("\n")); // BigInt, since they are int64
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
