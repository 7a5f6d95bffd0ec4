"""Learning-rate schedules as factors of the highest rate: pure functions of the step."""

import math

from toolkit.spec.train import ConstantSchedule, CosineSchedule, LinearSchedule, Schedule, WSDSchedule


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The factor for step `step` of `steps`, counted from 0.

    Warm-up rises linearly and is above zero at its first step; the last step is one step above `floor`.
    """
    warmup = round(schedule.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    match schedule:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule():
            done = (step - warmup) / max(1, steps - warmup)
            return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))
        case LinearSchedule() | WSDSchedule():
            cooldown = min(max(1, round(schedule.cooldown * steps)), steps - warmup)
            left = (steps - step) / cooldown
            if left >= 1:
                return 1.0
            fall = left if isinstance(schedule, LinearSchedule) else 1 - math.sqrt(1 - left)
            return schedule.floor + (1 - schedule.floor) * fall
