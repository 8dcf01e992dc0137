"""Words: one code on the wire, labels for people, and either may be sent."""

import msgspec
import pytest

from domain.access.principal import Role
from domain.datasets.dataset import DatasetStatus
from domain.hosts.host import HostStatus
from domain.processes.condition import ConditionName
from domain.processes.failure import FailureClass
from domain.processes.process import Phase
from domain.processes.waiting import Reason
from domain.projects.project import ExecutorName, ProjectStatus
from domain.runs.artifact import ArtifactType
from domain.runs.run import RunStatus
from domain.training.task_type import TaskType, task_type_of
from domain.words import Word

WORDS: list[type[Word]] = [
    ArtifactType,
    ConditionName,
    DatasetStatus,
    ExecutorName,
    FailureClass,
    HostStatus,
    Phase,
    ProjectStatus,
    Reason,
    Role,
    RunStatus,
    TaskType,
]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_known_by_its_code_and_by_every_label(word: type[Word]) -> None:
    for member in word:
        for said in (str(member), member.zh, member.en, member.en.lower()):
            assert member is msgspec.convert(said, word)
        assert (member.zh, member.en) == (member.label("zh"), member.label("en"))


@pytest.mark.parametrize("word", WORDS)
def test_no_two_words_share_a_code_or_a_label(word: type[Word]) -> None:
    said = [name for member in word for name in {str(member), member.zh, member.en.lower()}]

    assert len(said) == len(set(said))


@pytest.mark.parametrize("word", WORDS)
def test_only_the_code_goes_over_the_wire(word: type[Word]) -> None:
    for member in word:
        assert str(member).isascii()
        assert f'"{member}"'.encode() == msgspec.json.encode(member)
        assert member is msgspec.json.decode(msgspec.json.encode(member), type=word)


def test_anything_else_is_no_word() -> None:
    for nonsense in ("", "Done", "成功了", " queued"):
        with pytest.raises(msgspec.ValidationError, match="Invalid enum value"):
            msgspec.convert(nonsense, RunStatus)


def test_the_documented_labels_stand() -> None:
    labels = {"queued": "排队中", "starting": "启动中", "running": "运行中", "cancelling": "取消中", "succeeded": "已完成"}
    assert labels | {"failed": "失败", "cancelled": "已取消"} == {str(status): status.label("zh") for status in RunStatus}
    assert {"draft": "草稿", "active": "启用", "archived": "已归档"} == {str(status): status.zh for status in ProjectStatus}


def test_a_task_type_may_be_free_text() -> None:
    assert [TaskType.rl, TaskType.rl, TaskType.rl] == [task_type_of(text) for text in ("rl", "强化学习", "Reinforcement learning")]
    assert [None, None, None] == [task_type_of(text) for text in ("文本摘要", None, 7)]
