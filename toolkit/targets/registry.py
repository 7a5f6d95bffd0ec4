"""Which class carries out which target: one line each."""

from toolkit.targets.answer import AnswerTask
from toolkit.targets.chat import ChatTask
from toolkit.targets.classify import ClassifyTask
from toolkit.targets.multilabel import MultilabelTask
from toolkit.targets.regress import RegressTask
from toolkit.targets.tag import TagTask
from toolkit.targets.target import TargetTask
from toolkit.targets.translate import TranslateTask

TARGETS: dict[str, type[TargetTask]] = {
    "answer": AnswerTask,  # type: ignore[type-abstract]
    "chat": ChatTask,
    "classify": ClassifyTask,
    "multilabel": MultilabelTask,
    "regress": RegressTask,
    "tag": TagTask,
    "translate": TranslateTask,
}
