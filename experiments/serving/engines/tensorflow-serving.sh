#!/bin/sh
# TensorFlow Serving over the SavedModel, protocol v1: tensorflow-serving.sh /absolute/path/of/digits-model
# The warm-up requests of each version are replayed before it is served; the older version is unloaded afterwards.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec docker run --rm -p 127.0.0.1:8501:8501 -p 127.0.0.1:8500:8500 \
    -v "$1:/models/tfmnist:ro" -v "$here/batching.txt:/config/batching.txt:ro" -v "$here/monitoring.txt:/config/monitoring.txt:ro" \
    -e MODEL_NAME=tfmnist -e TF_CPP_MIN_LOG_LEVEL=1 \
    tensorflow/serving:2.19.1 \
    --rest_api_timeout_in_ms=30000 --file_system_poll_wait_seconds=2 \
    --enable_batching=true --batching_parameters_file=/config/batching.txt \
    --monitoring_config_file=/config/monitoring.txt \
    --tensorflow_intra_op_parallelism=1
