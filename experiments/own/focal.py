"""The focal loss (Lin et al. 2017) weighs hard examples more: python focal.py, or loss.kind = "focal.py:focal"."""

import tensorflow as tf

import tfmnist


def focal(logits, labels, gamma: float = 2.0):
    log_p = tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1)
    return -tf.pow(1.0 - tf.exp(log_p), gamma) * log_p


if __name__ == "__main__":
    digits, model = tfmnist.load("mnist"), tfmnist.MLP(hidden=[128])
    tfmnist.fit(model, digits.train, validation=digits.validation, loss=focal, epochs=3)
    print(tfmnist.evaluate(model, digits.test).accuracy, tfmnist.export(model, "models/focal", loss=focal))
