"""The simulated trainer: no model, a loss drawn from a known surface. For tests and design studies only.

Whatever it produces carries `simulated: true` from the result file to every output.
"""

import hashlib
import math
import random

from isoflop.run_spec import RunSpec
from isoflop.train.progress import Ending, HeldoutLoss, Progress, Trained

# The corrected Chinchilla surface (Besiroglu et al. 2024, arXiv 2404.10102): L = E + A N^-alpha + B D^-beta, nats.
E, A, B, ALPHA, BETA = 1.8172, 477.83, 2143.4, 0.34731, 0.36717
NOISE = 0.002  # sd of log loss


def simulated_loss(n_params: float, n_tokens: float) -> float:
    """Loss of the surface in nats per token, without noise."""
    return float(E + A * n_params**-ALPHA + B * n_tokens**-BETA)


def simulate(run: RunSpec) -> Trained:
    """Counters and held-out loss as if `run` had been trained; noise depends on the run's id alone."""
    noise = random.Random(hashlib.sha256(run.run_id.encode()).digest())  # noqa: S311 - not for secrets
    loss = simulated_loss(run.shape.n_params_total, run.n_tokens) * math.exp(noise.gauss(0, NOISE))
    progress = Progress(step=run.n_steps, n_tokens=run.n_tokens)
    return Trained(Ending.COMPLETED, progress, heldout=HeldoutLoss(loss, NOISE * loss, run.eval_tokens, None))
