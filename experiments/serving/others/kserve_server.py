"""KServe's Python server over an exported model: python kserve_server.py MODEL_VERSION PORT."""

import importlib
import sys
from typing import Any

kserve: Any = importlib.import_module("kserve")
np: Any = importlib.import_module("numpy")
tf: Any = importlib.import_module("tensorflow")
tf.config.threading.set_intra_op_parallelism_threads(1)


class Digits(kserve.Model):
    def __init__(self, path: str):
        super().__init__("tfmnist")
        self.loaded = tf.saved_model.load(path)
        self.signature = self.loaded.signatures["serving_default"]
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        outputs = self.signature(images=tf.constant(np.asarray(payload["instances"], np.uint8)))
        columns = {name: output.numpy().tolist() for name, output in outputs.items()}
        return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


if __name__ == "__main__":
    path, port = sys.argv[1:3]
    sys.argv[1:] = []
    kserve.ModelServer(http_port=int(port), enable_grpc=False, workers=1).start([Digits(path)])
