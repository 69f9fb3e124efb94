"""A minimal FastAPI service over a Keras network of the size of `cnn`: python keras_server.py UNUSED PORT."""

import importlib
import sys
from typing import Any

fastapi: Any = importlib.import_module("fastapi")
keras: Any = importlib.import_module("keras")
np: Any = importlib.import_module("numpy")
uvicorn: Any = importlib.import_module("uvicorn")

layers = keras.layers
model = keras.Sequential([keras.Input((28, 28, 1)), layers.Rescaling(1 / 255)])
for filters, size in ((32, 5), (64, 3), (128, 3)):
    model.add(layers.Conv2D(filters, size, padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.ReLU())
    model.add(layers.MaxPooling2D() if filters < 128 else layers.GlobalMaxPooling2D())
model.add(layers.Dense(10, "softmax"))
app = fastapi.FastAPI()


def predict(body: dict[str, Any]) -> Any:
    images = np.asarray(body["instances"], np.float32)[..., np.newaxis]
    return {"predictions": model.predict(images, verbose=0).tolist()}


app.post("/v1/models/tfmnist:predict")(predict)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
