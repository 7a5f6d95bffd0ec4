"""Which class carries out which target: one line each."""

from toolkit.targets.classify import ClassifyTask
from toolkit.targets.regress import RegressTask
from toolkit.targets.target import TargetTask

TARGETS: dict[str, type[TargetTask]] = {
    "classify": ClassifyTask,
    "regress": RegressTask,
}
