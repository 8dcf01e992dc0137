"""A GPU of a host, and the one process that holds it: a row has one holder, so the database itself cannot give a GPU away twice."""

from msgspec import Struct

from domain.ids import HostName, ProcessId


class SeenGpu(Struct, frozen=True, kw_only=True):
    """A GPU as the driver, or a setting where there is none, shows it."""

    number: int
    """From 0, in the driver's order."""
    uuid: str | None = None
    """None where only a count is known."""
    type: str
    """The driver's product name, such as `NVIDIA H100 80GB HBM3`."""
    memory_bytes: int | None = None
    utilization: float | None = None
    """0 to 1, over the driver's last sample; None where it cannot be read."""
    memory_used_bytes: int | None = None


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU of one host."""

    host: HostName
    number: int
    uuid: str | None = None
    type: str
    memory_bytes: int | None = None
    utilization: float | None = None
    memory_used_bytes: int | None = None
    holder: ProcessId | None = None
    """The process it is given to, until all of that is verified dead."""
    set_aside: str | None = None
    """Why it is given to nobody, in words: something on it could not be killed."""

    @property
    def device(self) -> str:
        """What CUDA_VISIBLE_DEVICES calls it."""
        return self.uuid or str(self.number)

    @property
    def free(self) -> bool:
        """Whether it can be given to a process."""
        return self.holder is None and self.set_aside is None


def fits(wanted: str | None, type_: str) -> bool:
    """Whether a GPU's type is the wanted one: `A100` fits `NVIDIA A100-SXM4-80GB`; None fits all."""
    return wanted is None or _plain(wanted) in _plain(type_)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
