"""A few figures out of a server's own metrics: what it has on its hands, how fast it is, how full its cache."""

import re
from collections import defaultdict

from msgspec import Struct

_SAMPLE = re.compile(r"^vllm:(\w+)(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_SHOWN = {"num_requests_running": "requests/running", "num_requests_waiting": "requests/waiting", "kv_cache_usage_perc": "cache/usage"}
_TOKENS = {"prompt_tokens_total": "tokens/prompt_per_second", "generation_tokens_total": "tokens/generated_per_second"}


class Reading(Struct, frozen=True, kw_only=True):
    """What one look at the metrics showed."""

    at: float
    """Seconds, by a clock that nobody sets."""
    values: dict[str, float]
    """Summed over engines, by vLLM's own names."""

    @property
    def tokens(self) -> float:
        """How many it has made so far."""
        return self.values.get("generation_tokens_total", 0.0)

    def figures(self, before: "Reading | None") -> dict[str, float | None]:
        """Return what is shown: requests running and waiting, cache use (0 to 1), and tokens per second since the reading before."""
        shown: dict[str, float | None] = {ours: self.values[theirs] for theirs, ours in _SHOWN.items() if theirs in self.values}
        for theirs, ours in _TOKENS.items():
            if theirs in self.values:
                since = before.values.get(theirs) if before else None
                seconds = self.at - before.at if before else 0.0
                shown[ours] = max(self.values[theirs] - since, 0.0) / seconds if since is not None and seconds > 0 else None
        return shown


def read(text: str, at: float) -> Reading:
    """Read a page of metrics; what is not vLLM's is passed over."""
    values = defaultdict[str, list[float]](list)
    for name, value in _SAMPLE.findall(text):
        if name in _SHOWN or name in _TOKENS:
            values[name].append(float(value))
    mean = {name: sum(each) / (len(each) if name == "kv_cache_usage_perc" else 1) for name, each in values.items()}
    return Reading(at=at, values=mean)
