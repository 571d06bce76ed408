"""A training run without a model: losses with given ratios and noise drive a schedule."""

from __future__ import annotations

import random
from collections import Counter

from medclm.config import ScheduleConfig
from medclm.train import schedule

DOMAINS = ("nodule/CR", "mass/CR", "effusion/CT")


def draws(config: ScheduleConfig, ratio: float, steps: int = 2000, batch: int = 26, noise: float = 0.1, seed: int = 0):
    """Stage counts of each window, and the last state.

    Easy's loss falls from 3 to 0.6; Medium's is ``ratio`` times that; each window's means carry ``noise`` (relative,
    one standard deviation). A state takes effect one window after the one that follows it, as in the real loop.
    """
    rng, window = random.Random(seed), schedule.window_of(config, steps)
    counts, states = [], [{}, {}]
    for start in range(0, steps, window):
        state, drawn = states[-2], Counter()
        found: dict = {domain: {} for domain in DOMAINS}
        for step in range(start, min(start + window, steps)):
            for place in range(batch):
                domain = DOMAINS[place % len(DOMAINS)]
                stage = schedule.stage_of(schedule.shares(config, steps, state, step, domain), seed, step, place)
                drawn[stage] += 1
                easy = 0.6 + 2.4 * 0.5 ** (step / (0.1 * steps))
                loss = {"easy": easy, "medium": ratio * easy, "hard": easy}[stage] * (1 + rng.gauss(0, noise))
                total, count = found[domain].get(stage, (0.0, 0.0))
                found[domain][stage] = (total + loss, count + 1)
        counts.append(drawn)
        states.append(schedule.observe(config, steps, states[-1], min(start + window, steps), found, {}))
    return counts, states[-1]
