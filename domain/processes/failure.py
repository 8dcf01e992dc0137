"""A failure says who failed, why, and what shows it."""

from msgspec import Struct, field

from domain.words import Word


class FailureClass(Word):
    """Who failed."""

    user_code = ("user_code", "训练代码", "Training code")
    out_of_memory = ("out_of_memory", "内存不足", "Out of memory")
    infrastructure = ("infrastructure", "基础设施", "Infrastructure")
    bad_input = ("bad_input", "输入有误", "Bad input")
    timeout = ("timeout", "超时", "Timeout")
    platform = ("platform", "平台", "Platform")


class Failure(Struct, frozen=True, kw_only=True):
    """Why something failed: who, what, and what shows it."""

    failure_class: FailureClass = field(name="class")
    reason: str
    evidence: list[str] = []
    """What was seen: the exit, the cgroup's counter, the boot id."""
    log_excerpt: list[str] = []
