"""LitServe, with its batching, over an exported model: python litserve_server.py MODEL_VERSION PORT."""

import importlib
import sys
from typing import Any

litserve: Any = importlib.import_module("litserve")
np: Any = importlib.import_module("numpy")


class Digits(litserve.LitAPI):
    def setup(self, device: Any) -> None:
        tf: Any = importlib.import_module("tensorflow")
        tf.config.threading.set_intra_op_parallelism_threads(1)
        self.loaded = tf.saved_model.load(sys.argv[1])
        self.signature = self.loaded.signatures["serving_default"]
        self.constant = tf.constant

    def decode_request(self, request, **_):  # types would be those of its query
        return np.asarray(request["instances"], np.uint8)[0]

    def batch(self, inputs: Any) -> Any:
        return np.stack(inputs)

    def predict(self, images: Any, **_: Any) -> Any:
        outputs = self.signature(images=self.constant(images))
        columns = {name: output.numpy().tolist() for name, output in outputs.items()}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]

    def unbatch(self, outputs: Any) -> Any:
        return list(outputs)

    def encode_response(self, output: Any, **_: Any) -> Any:
        return {"predictions": [output]}


if __name__ == "__main__":
    api = Digits(max_batch_size=64, batch_timeout=0.002, api_path="/v1/models/tfmnist:predict")
    litserve.LitServer(api, accelerator="cpu").run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False)
