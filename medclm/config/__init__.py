"""The configuration of every job: pydantic models, read from YAML plus dotted ``key=value`` overrides.

Unknown keys are errors that suggest the right one. Config stops at the door: the command line, the pipeline, the
launcher and the app unpack it, everything else takes named parameters.
"""

from medclm.config.ablation import AblationConfig, ArmConfig, PhantomConfig
from medclm.config.build import BuildConfig
from medclm.config.eval import EvalConfig
from medclm.config.load import keys, load
from medclm.config.serve import ServeConfig
from medclm.config.train import (
    LossConfig,
    ModelConfig,
    OptimConfig,
    ParallelConfig,
    ScheduleConfig,
    TinyConfig,
    TrainConfig,
)
from medclm.config.tune import Choice, TuneConfig

__all__ = [
    "AblationConfig",
    "ArmConfig",
    "BuildConfig",
    "Choice",
    "EvalConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "ParallelConfig",
    "PhantomConfig",
    "ScheduleConfig",
    "ServeConfig",
    "TinyConfig",
    "TrainConfig",
    "TuneConfig",
    "keys",
    "load",
]
