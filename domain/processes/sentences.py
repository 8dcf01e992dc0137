"""What a person reads about a process that waits, in Chinese and in English: what it needs, what blocks it, and what to do."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

MOST_NAMES = 3
"""Hosts that a sentence names; the others it counts."""


class Text(NamedTuple):
    """One sentence in both languages."""

    zh: str
    en: str


class Named(NamedTuple):
    """Somebody who holds something, and how far it has come (0 to 1)."""

    name: str
    progress: float | None


def needs(gpus: int, type_: str | None) -> Text:
    """Say what it asks of a host."""
    if gpus == 0:
        return Text("需要一个运行名额", "needs a slot")
    kind = f"{type_} " if type_ else ""
    return Text(f"需要 {gpus} 块 {kind}GPU", f"needs {_gpus(gpus)}" + (f" of type {type_}" if type_ else ""))


def no_host(*, folder: bool) -> Text:
    """Nobody accepts work."""
    zh, en = ("没有主机", "no host") if not folder else ("没有能访问其训练目录的主机", "no host with its training folder")
    return Text(
        f"{zh}在接收任务：请在主机上运行 `tuneyard worker`，或用 `tuneyard hosts undrain 主机名` 让停止接收的主机恢复接收",
        f"{en} is accepting work: start `tuneyard worker` on one, or let a drained host work again with `tuneyard hosts undrain HOST`",
    )


def hosts_away(need: Text, hosts: Sequence[str]) -> Text:
    """Those that could take it are drained, or nothing is heard of them."""
    return Text(
        f"{need.zh}；能满足的主机 {_where(hosts).zh}已停止接收或失联：请让它恢复接收（`tuneyard hosts undrain`）或启动其 worker",
        f"{need.en}; {_where(hosts).en}, where that is, cannot take it: `tuneyard hosts undrain` it if it is drained, or start its worker",
    )


def never(need: Text, most: int, host: str | None, types: Sequence[str], set_aside: int) -> Text:
    """No host is large enough: `most` and `host` say what comes nearest, `types` what GPUs there are."""
    if most:
        zh, en = f"单台主机最多提供 {most} 块（{host}）", f"the most that any host offers is {most} ({host})"
    elif types:
        zh, en = f"没有主机提供这种 GPU，现有 {'、'.join(types)}", f"no host offers such GPUs, there are {_and(types)}"
    else:
        zh, en = "没有主机提供 GPU", "no host offers GPUs"
    if set_aside:
        zh += f"；另有 {set_aside} 块被隔离，确认其上无残留进程后可用 `tuneyard hosts return-gpu` 恢复"
        en += f"; {_gpus(set_aside)} set aside: once nothing is left there, give back with `tuneyard hosts return-gpu`"
    return Text(
        f"{need.zh}；{zh}。请减少需求，或在更大的主机上运行 `tuneyard worker`",
        f"{need.en}; {en}. Ask for less, or start `tuneyard worker` on a larger host",
    )


def gpus_taken(need: Text, hosts: Sequence[str], free: int, holders: Sequence[Named]) -> Text:
    """Too few are free on the hosts that come nearest."""
    where, (zh, en) = _where(hosts), _held(holders)
    each = len(hosts) > 1
    have = f"{'各' if each else ''}有 {free} 块空闲，其余" if free else "没有空闲的，全部"
    has = f"{'have' if each else 'has'} {free or 'none'} free{' each' if free and each else ''}, {'the others' if free else 'all'} are held"
    return Text(f"{need.zh}；{where.zh}{have}{zh or '被占用'}", f"{need.en}; {where.en} {has}{en}")


def slots_taken(need: Text, hosts: Sequence[str], holders: Sequence[Named]) -> Text:
    """There is no slot on the hosts that have all else."""
    where, (zh, en) = _where(hosts), _held(holders)
    return Text(f"{need.zh}；{where.zh}的运行名额已满，{zh or '全部被占用'}", f"{need.en}; every slot of {where.en} is taken{en}")


def kept_back(need: Text, hosts: Sequence[str], free: int, other: Text | None, ahead: int) -> Text:
    """Enough is free, but for those ahead: for one that waits for more of it, or for all that come first."""
    where, each = _where(hosts), len(hosts) > 1
    have = f"{'各' if each else ''}有 {free} 块空闲" if free else "有名额"
    has = f"{'have' if each else 'has'} {f'{free} free' if free else 'room'}{' each' if free and each else ''}"
    if other is not None:
        zh, en = f"为排在前面、{other.zh} 的任务保留", f"kept for one ahead in the queue that {other.en}"
    else:
        zh, en = f"但前面还有 {ahead} 个任务", f"but {ahead} ahead in the queue {'comes' if ahead == 1 else 'come'} first"
    return Text(f"{need.zh}；{where.zh}{have}，{zh}", f"{need.en}; {where.en} {has}, {en}")


def retry_later(at: datetime) -> Text:
    """It has failed, and its next attempt is not due yet."""
    due = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return Text(
        f"上次尝试因基础设施故障失败，下次尝试不早于 {due}",
        f"the last attempt failed through no fault of its own; the next is due at {due}",
    )


def about_to_start(host: str) -> Text:
    """There is room for it."""
    return Text(f"{host} 有空位，即将启动", f"there is room on {host}; it starts in a moment")


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _where(hosts: Sequence[str]) -> Text:
    shown, more = list(hosts[:MOST_NAMES]), len(hosts) - MOST_NAMES
    zh = "、".join(shown) + (f" 等 {len(hosts)} 台主机" if more > 0 else " ")
    return Text(zh, _and([*shown, f"{more} more"] if more > 0 else shown))


def _held(holders: Sequence[Named]) -> Text:
    """Say by whom; nothing where it is not known."""
    if not holders:
        return Text("", "")
    shown, more = holders[:MOST_NAMES], len(holders) - MOST_NAMES
    zh = "、".join(each.name + _progress("（{:.0%}）", each) for each in shown) + (f" 等 {len(holders)} 个任务" if more > 0 else "")
    names = [each.name + _progress(" ({:.0%})", each) for each in shown]
    return Text(f"由 {zh}占用", f" by {_and([*names, f'{more} more'] if more > 0 else names)}")


def _progress(form: str, holder: Named) -> str:
    return "" if holder.progress is None else form.format(holder.progress)
