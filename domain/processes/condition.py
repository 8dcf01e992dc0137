"""A condition is something about a process that a person should know; it is no state, and may pass."""

from datetime import datetime

from msgspec import Struct

from domain.words import Word


class ConditionName(Word):
    """What may be the matter."""

    host_lost = ("host_lost", "主机失联", "Host unreachable")
    stalled = ("stalled", "停滞", "Stalled")
    nan_loss = ("nan_loss", "损失异常", "Loss is not a number")
    shim_lost = ("shim_lost", "监护进程丢失", "Shim lost")
    unkillable = ("unkillable", "无法终止", "Cannot be killed")
    stop_ignored = ("stop_ignored", "未响应停止", "Does not stop")
    log_gap = ("log_gap", "日志缺口", "Gap in the log")
    platform_fault = ("platform_fault", "平台故障", "Platform fault")
    incomplete = ("incomplete", "记录不完整", "Record is incomplete")


PASSING = (ConditionName.host_lost, ConditionName.stalled, ConditionName.shim_lost, ConditionName.platform_fault)
"""Those that say nothing any more once an attempt is over."""


class Condition(Struct, frozen=True, kw_only=True):
    """What is the matter, why, and since when."""

    name: ConditionName
    reason: str
    """In words: what was seen, and what to do about it."""
    since: datetime
