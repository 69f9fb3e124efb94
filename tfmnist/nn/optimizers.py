"""Optimizers: the update rule as a pure function that cites its paper, and a thin class that owns the slots.

Each rule exists twice, equal up to rounding: `update` composes elementwise operations, which XLA fuses itself;
`update_fused` is TensorFlow's raw operation, one pass over memory, which is faster without XLA.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfmnist.errors import InputError
from tfmnist.nn.modules import named_variables
from tfmnist.nn.runtime import check_runtime
from tfmnist.nn.schedules import Schedule, check_positive, constant

Gradients = Sequence[tf.Tensor]
Slots = list[tf.Variable]


def momentum_update(
    g: tf.Tensor, u: tf.Tensor, learning_rate: tf.Tensor, momentum: float, nesterov: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """u ← μ u + g;  Δ = -η u, or with Nesterov -η (g + μ u) (Sutskever et al. 2013). Returns Δ, u."""
    u = momentum * u + g
    return -learning_rate * (g + momentum * u if nesterov else u), u


def rmsprop_update(
    g: tf.Tensor, s: tf.Tensor, learning_rate: tf.Tensor, rho: float, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """s ← ρ s + (1 - ρ) g²;  Δ = -η g / sqrt(s + ε) (Tieleman and Hinton 2012, lecture 6.5). Returns Δ, s."""
    s = rho * s + (1.0 - rho) * g * g
    return -learning_rate * g / tf.sqrt(s + epsilon), s


def adam_update(
    g: tf.Tensor,
    m: tf.Tensor,
    v: tf.Tensor,
    t: tf.Tensor,
    learning_rate: tf.Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Algorithm 1 of Kingma and Ba 2015. t: float32 scalar, 1 at the first step. Returns Δ, m, v.

    m ← β1 m + (1 - β1) g;  v ← β2 v + (1 - β2) g²;  m̂ = m / (1 - β1ᵗ);  v̂ = v / (1 - β2ᵗ);  Δ = -η m̂ / (sqrt(v̂) + ε).
    Both bias corrections are two scalars instead of divisions of arrays, as the end of the paper's section 2 suggests.
    """
    m = beta1 * m + (1.0 - beta1) * g
    v = beta2 * v + (1.0 - beta2) * g * g
    rate, epsilon_hat = adam_scalars(t, learning_rate, beta1, beta2, epsilon)
    return -rate * m / (tf.sqrt(v) + epsilon_hat), m, v


def adam_scalars(
    t: tf.Tensor, learning_rate: tf.Tensor, beta1: float, beta2: float, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns η sqrt(1 - β2ᵗ) / (1 - β1ᵗ) and ε sqrt(1 - β2ᵗ)."""
    root = tf.sqrt(one_minus_power(beta2, t))
    return learning_rate * root / one_minus_power(beta1, t), epsilon * root


def muon_update(g: tf.Tensor, u: tf.Tensor, learning_rate: tf.Tensor, momentum: float) -> tuple[tf.Tensor, tf.Tensor]:
    """u ← μ u + g;  Δ = -η orthogonal(g + μ u), for a kernel `[..., units or filters]`. Returns Δ, u.

    The kernel is a matrix with one column per unit, and `orthogonal` replaces its singular values by about 1: all
    directions are learned at the same rate (Jordan et al. 2024, "Muon: an optimizer for hidden layers"). The products
    of a dense kernel are in bfloat16, as there; those of a convolution, which are small, in float32.
    """
    u = momentum * u + g
    matrix = tf.reshape(g + momentum * u, [-1, g.shape[-1]])
    result = orthogonal(matrix, tf.bfloat16 if g.shape.rank == 2 else tf.float32)
    return -learning_rate * tf.reshape(result, g.shape), u


def orthogonal(matrix: tf.Tensor, dtype: tf.DType = tf.float32, iterations: int = 3) -> tf.Tensor:
    """Returns about U Vᵀ for a matrix with the singular value decomposition U S Vᵀ; 0 for 0.

    x ← 3.4445 x - 4.7750 (x xᵀ) x + 2.0315 (x xᵀ)² x, from x = matrix / ‖matrix‖, brings singular values near 1
    quickly rather than exactly (Jordan et al. 2024). It is computed in `dtype`.
    """
    rows, columns = matrix.shape
    is_tall = int(rows or 0) > int(columns or 0)
    x = tf.transpose(matrix) if is_tall else matrix  # the smaller x xᵀ
    x = tf.cast(x / (tf.norm(x) + 1e-7), dtype)
    for _ in range(iterations):
        square = tf.matmul(x, x, transpose_b=True)
        x = 3.4445 * x + tf.matmul(2.0315 * tf.matmul(square, square) - 4.7750 * square, x)
    x = tf.cast(x, matrix.dtype)
    return tf.transpose(x) if is_tall else x


def one_minus_power(base: float, t: tf.Tensor) -> tf.Tensor:
    """1 - baseᵗ without cancellation where base is near 1, for base in [0, 1)."""
    return -tf.math.expm1(t * tf.math.log(tf.convert_to_tensor(base, tf.float32)))


def clip_by_global_norm(gradients: Gradients, limit: float) -> list[tf.Tensor]:
    """Scales all gradients by limit / ‖g‖ where their common norm ‖g‖ exceeds limit (Pascanu et al. 2013)."""
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g)) for g in gradients]))
    # a norm that is not finite makes the gradients NaN: divergence must not be hidden
    scale = tf.where(tf.math.is_finite(norm), limit / tf.maximum(norm, limit), math.nan)
    return [g * scale for g in gradients]


class Optimizer(tf.Module):
    """The base class of all optimizers, including your own: the parameters, their slots, the learning rate, the step.

    A subclass defines `update`, and names in `slot_names` the variables that it keeps for each parameter:

        class SignSGD(tfmnist.Optimizer):
            slot_names = ("momentum",)

            def update(self, parameter, gradient, slots, learning_rate, t):
                slots[0].assign(0.9 * slots[0] + 0.1 * gradient)
                parameter.assign_sub(learning_rate * tf.sign(slots[0]))

    If it has a constructor, that takes the parameters, the learning rate, and then its options by keyword.

    Args:
        parameters: the variables to update, float32. The slots are made here, one set per parameter, filled with 0.
        learning_rate: a positive number, or a schedule: a function from the step, int64 scalar from 0, to a float32
            scalar.
        fused: whether `apply` uses `update_fused` where it exists, rather than `update`; `tfmnist.fit` chooses by how
            it compiles.

    Attributes:
        step: int64 variable, the number of updates done.
        slots: for each slot name, a list of one variable per parameter, in the order of `parameters`.

    Raises:
        InputError: a parameter is not float32, or the learning rate is not positive.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self, parameters: Sequence[tf.Variable], learning_rate: float | Schedule = 0.001, *, fused: bool = True
    ):
        check_runtime(in_scope=True)
        super().__init__()
        self.parameters = list(parameters)
        if type(self).update is Optimizer.update:
            raise InputError(f"{type(self).__name__} defines no update: expected a method that changes one parameter.")
        if isinstance(self.slot_names, str):
            raise InputError(f"slot_names is {self.slot_names!r}: expected a tuple of names, ({self.slot_names!r},).")
        for variable in self.parameters:
            if variable.dtype != tf.float32:
                raise InputError(
                    f"variable {_name(variable)} is {variable.dtype.name}: only float32 can be trained; convert it, or "
                    "make it with trainable=False."
                )
        self.schedule = learning_rate if callable(learning_rate) else constant(learning_rate)
        self.fused = fused
        self.step = tf.Variable(tf.zeros([], tf.int64), trainable=False, name="step")
        self.slots = {
            slot: [tf.Variable(tf.zeros_like(p), trainable=False, name=f"{slot}/{_name(p)}") for p in self.parameters]
            for slot in self.slot_names
        }

    def apply(self, gradients: Gradients, *, fused: bool | None = None) -> None:
        """Updates all parameters once, and adds 1 to `step`.

        Args:
            gradients: of the loss, one per parameter, in the order of `parameters`, float32, of the parameter's shape.
            fused: overrides the constructor's `fused`.

        Raises:
            InputError: `update` returns a value.
        """
        rule = self._rule(self.fused if fused is None else fused)
        learning_rate = self.schedule(self.step)
        t = tf.cast(self.step + 1, tf.float32)
        for index, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            slots = [self.slots[name][index] for name in self.slot_names]
            if isinstance(rule(parameter, gradient, slots, learning_rate, t), tf.Tensor | tuple | list):
                raise InputError(
                    f"{type(self).__name__}.update returns a value: expected None; change the parameter and its slots "
                    "by assign, assign_add or assign_sub."
                )
        self.step.assign_add(1)

    def _rule(self, fused: bool) -> Callable[..., None]:
        """Returns the form of the rule to use: a class that redefines only `update` does not inherit `update_fused`."""
        of_update, of_fused = (next(c for c in type(self).__mro__ if f in vars(c)) for f in ("update", "update_fused"))
        return self.update_fused if fused and issubclass(of_fused, of_update) else self.update

    def named_variables(self, parameter_names: Sequence[str] | None = None) -> dict[str, tf.Variable]:
        """Returns what a checkpoint must hold besides the weights: the step, the slots, and variables of a subclass.

        Args:
            parameter_names: one unique name per parameter; by default the names of the variables.

        Raises:
            InputError: two parameters have the same name.
        """
        names = [_name(p) for p in self.parameters] if parameter_names is None else parameter_names
        if len(set(names)) < len(names):
            raise InputError(
                f"parameters have the names {list(names)}: expected a unique name for each; pass parameter_names."
            )
        slots = {f"{s}/{name}": v for s, variables in self.slots.items() for name, v in zip(names, variables)}
        known = {id(v) for v in (*self.parameters, self.step, *slots.values())}
        others = {name: v for name, v in named_variables(self).items() if id(v) not in known}
        return {"step": self.step, **slots, **others}

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        """Changes one parameter and its slots in place, by `assign`, `assign_add` or `assign_sub`; returns None.

        It is called for each parameter in each step, and compiled with the loop: use TensorFlow operations only.

        Args:
            parameter: float32 variable.
            gradient: of the loss with respect to the parameter: float32, of the same shape.
            slots: the parameter's variables, in the order of `slot_names`: float32, of the same shape, 0 at first.
            learning_rate: of this step, float32 scalar.
            t: the number of this update, from 1, float32 scalar.
        """
        raise NotImplementedError

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        """Optional: the same update as one raw operation, which is faster without XLA."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent: w ← w - η g."""

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        parameter.assign_sub(learning_rate * gradient)

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        tf.raw_ops.ResourceApplyGradientDescent(var=parameter.handle, alpha=learning_rate, delta=gradient)


class Momentum(Optimizer):
    """Gradient descent with momentum, `momentum_update`."""

    slot_names = ("momentum",)

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        learning_rate: float | Schedule = 0.001,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        fused: bool = True,
    ):
        super().__init__(parameters, learning_rate, fused=fused)
        _check_fraction(momentum=momentum)
        self.momentum, self.nesterov = momentum, nesterov

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        delta, u = momentum_update(gradient, slots[0], learning_rate, self.momentum, self.nesterov)
        slots[0].assign(u)
        parameter.assign_add(delta)

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        options = {"lr": learning_rate, "momentum": self.momentum, "use_nesterov": self.nesterov}
        tf.raw_ops.ResourceApplyMomentum(var=parameter.handle, accum=slots[0].handle, grad=gradient, **options)


class RMSprop(Optimizer):
    """`rmsprop_update`. The second slot is the last step taken, which the raw operation insists on storing."""

    slot_names = ("mean_square", "last_step")

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        learning_rate: float | Schedule = 0.001,
        *,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        fused: bool = True,
    ):
        super().__init__(parameters, learning_rate, fused=fused)
        _check_fraction(rho=rho)
        check_positive(epsilon=epsilon)
        self.rho, self.epsilon = rho, epsilon

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        delta, mean_square = rmsprop_update(gradient, slots[0], learning_rate, self.rho, self.epsilon)
        slots[0].assign(mean_square)
        slots[1].assign(-delta)
        parameter.assign_add(delta)

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        mean_square, last_step = (slot.handle for slot in slots)
        options = {"lr": learning_rate, "rho": self.rho, "momentum": 0.0, "epsilon": self.epsilon}
        tf.raw_ops.ResourceApplyRMSProp(var=parameter.handle, ms=mean_square, mom=last_step, grad=gradient, **options)


class Adam(Optimizer):
    """`adam_update`. The first step has length η, whatever the gradient."""

    slot_names = ("m", "v")

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        learning_rate: float | Schedule = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        fused: bool = True,
    ):
        super().__init__(parameters, learning_rate, fused=fused)
        _check_fraction(beta1=beta1, beta2=beta2)
        check_positive(epsilon=epsilon)
        # rounded to float32, so that 1 - beta is the same number in the rule and in its bias correction
        self.beta1, self.beta2 = (float(tf.constant(beta, tf.float32)) for beta in (beta1, beta2))
        self.epsilon = epsilon

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        m, v = slots
        delta, new_m, new_v = adam_update(gradient, m, v, t, learning_rate, self.beta1, self.beta2, self.epsilon)
        m.assign(new_m)
        v.assign(new_v)
        parameter.assign_add(delta)

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        m, v = (slot.handle for slot in slots)
        rate, epsilon_hat = adam_scalars(t, learning_rate, self.beta1, self.beta2, self.epsilon)
        # powers of 0 switch off the raw operation's own bias correction, which has ε outside of it, unlike algorithm 1
        options = {"beta1_power": 0.0, "beta2_power": 0.0, "beta1": self.beta1, "beta2": self.beta2}
        tf.raw_ops.ResourceApplyAdam(
            var=parameter.handle, m=m, v=v, lr=rate, epsilon=epsilon_hat, grad=gradient, **options
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: w ← w - η λ w - η m̂ / (sqrt(v̂) + ε) (Loshchilov and Hutter 2019, algorithm 2).

    Only kernels decay (variables of two axes or more), not biases or normalisation.
    """

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        learning_rate: float | Schedule = 0.001,
        *,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        fused: bool = True,
    ):
        super().__init__(parameters, learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon, fused=fused)
        if not weight_decay >= 0:
            raise InputError(f"weight_decay must not be negative, got {weight_decay}.")
        self.weight_decay = weight_decay

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        self._decay(parameter, learning_rate)
        super().update(parameter, gradient, slots, learning_rate, t)

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        self._decay(parameter, learning_rate)
        super().update_fused(parameter, gradient, slots, learning_rate, t)

    def _decay(self, parameter: tf.Variable, learning_rate: tf.Tensor) -> None:
        if parameter.shape.rank >= 2:
            parameter.assign_sub(learning_rate * self.weight_decay * parameter)


class Muon(AdamW):
    """`muon_update` of hidden kernels; `AdamW`, at `adam_rate` times the learning rate, of all other parameters.

    The last dense kernel is not hidden: it makes the logits (Jordan et al. 2024 leave it to AdamW too). Hidden kernels
    decay as in `AdamW`. To make a dense kernel of 1,000 by 1,000 orthogonal takes about as long as the rest of a step
    on a batch of 1,000.
    """

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        learning_rate: float | Schedule = 0.04,
        *,
        momentum: float = 0.9,
        adam_rate: float = 0.1,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        fused: bool = True,
    ):
        options = {"weight_decay": weight_decay, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        super().__init__(parameters, learning_rate, **options, fused=fused)
        _check_fraction(momentum=momentum)
        check_positive(adam_rate=adam_rate)
        self.momentum, self.adam_rate = momentum, adam_rate

    def update(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        if self._is_hidden(parameter):
            self._update_kernel(parameter, gradient, slots[0], learning_rate)
        else:
            super().update(parameter, gradient, slots, self.adam_rate * learning_rate, t)

    def update_fused(
        self, parameter: tf.Variable, gradient: tf.Tensor, slots: Slots, learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        if self._is_hidden(parameter):
            self._update_kernel(parameter, gradient, slots[0], learning_rate)
        else:
            super().update_fused(parameter, gradient, slots, self.adam_rate * learning_rate, t)

    def _is_hidden(self, parameter: tf.Variable) -> bool:
        dense = [p for p in self.parameters if p.shape.rank == 2]
        return parameter.shape.rank >= 2 and not (dense and parameter is dense[-1])

    def _update_kernel(
        self, kernel: tf.Variable, gradient: tf.Tensor, slot: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        self._decay(kernel, learning_rate)
        delta, u = muon_update(gradient, slot, learning_rate, self.momentum)
        slot.assign(u)
        kernel.assign_add(delta)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    c.__name__.lower(): c for c in (SGD, Momentum, RMSprop, Adam, AdamW, Muon)
}


def _name(variable: tf.Variable) -> str:
    return variable.name.removesuffix(":0")


def _check_fraction(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise InputError(f"{name} must be at least 0 and less than 1, got {value}.")
