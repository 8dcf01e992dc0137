"""The command of a model server, as argv: vLLM's own, or that of another server by a template. No shell ever reads it."""

import hmac
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from domain.errors import Flaw, Invalid

DEFAULT = "vllm"
"""Found on the host's PATH. Another one: `/opt/vllm/bin/vllm`, or `python -m vllm.entrypoints.cli.main`."""
PLACEHOLDERS = ("<model>", "<host>", "<port>", "<name>", "<gpus>")
"""What a template for another server may name; with none of them the words are the program that is told what vLLM is told."""
NEEDED = ("<model>", "<port>")
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be; a smaller one than the adapter's ends the server."""
STOCK_LORA_RANK = 16
API_KEY = "VLLM_API_KEY"
"""vLLM reads its key here too; on its command line every user of the host would see it, and it would print it into its log."""
MASK = "***"

_PLACEHOLDER = re.compile(r"<[a-z_]+>")
_SECRET = re.compile(r"(?i)(^|[-_])(key|token|secret|password)$")


class Adapter(Struct, frozen=True, kw_only=True):
    """A LoRA adapter served beside its base model, under a name of its own."""

    name: str
    path: str
    rank: int | None = None
    """As its `adapter_config.json` says it."""


class Serving(Struct, frozen=True, kw_only=True):
    """What a server is told: which model, under which names, where."""

    model: str
    """A folder of the host, or a name on the Hugging Face hub."""
    names: Sequence[str]
    """What callers may call it; the first is what its answers say."""
    host: str
    port: int
    gpus: int = 0
    """Over one: the model is split over so many (tensor parallel)."""
    adapters: Sequence[Adapter] = ()
    extra_args: Sequence[str] = ()
    """As `extra_args.words_of` returned them."""
    drain_seconds: int = 0
    """How long it may finish its requests when it is asked to stop; without it vLLM hangs on TERM with a request in flight."""


def is_vllm(command: str) -> bool:
    """Whether the command is vLLM's program; else it is the whole command line of another server, with placeholders."""
    return not _PLACEHOLDER.search(command)


def require_command(command: str) -> None:
    """Invalid when a serve command cannot be used; the message says why and what works."""
    try:
        words = shlex.split(command)
    except ValueError as wrong:
        message = f"cannot be split into words ({wrong}): {command}"
        raise Invalid(message) from None
    named = set(_PLACEHOLDER.findall(command))
    if not words or _PLACEHOLDER.search(words[0]):
        message = "must begin with a program; leave it out for `vllm` on the PATH"
        raise Invalid(message)
    if unknown := sorted(named.difference(PLACEHOLDERS)):
        message = f"knows no {', '.join(unknown)}; known are {', '.join(PLACEHOLDERS)}"
        raise Invalid(message)
    if named and (missing := [each for each in NEEDED if each not in named]):
        message = (
            f"lacks {', '.join(missing)}: a template says where its model and its port go; with no placeholder at all it is vLLM's program"
        )
        raise Invalid(message)


def argv_of(serving: Serving, command: str = DEFAULT) -> list[str]:
    """Return what to start; Invalid when the model or a name could be taken for a flag, or the template's server lacks what is asked."""
    for word in (serving.model, *serving.names, *(adapter.name for adapter in serving.adapters)):
        if not word or word.startswith("-") or not word.isprintable():
            message = f"{word!r} cannot stand in a command line: a model and its names are printable and begin with no dash"
            raise Invalid(message, [Flaw("model_path", message)])
    return _vllm(serving, command) if is_vllm(command) else _other(serving, command)


def environment_of(serving: Serving, key: str | None = None) -> dict[str, str]:
    """Return what to put into its environment: its key, and that it calls nobody for a model that lies here."""
    found = {"VLLM_NO_USAGE_STATS": "1"}
    if serving.model.startswith("/"):
        found |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return found | ({API_KEY: key} if key else {})


def key_of(secret: str, deployment_id: str) -> str:
    """Return the key of one deployment's server: worker and API derive it alike from the token they share, so no row or log holds it."""
    return hmac.digest(secret.encode(), b"deployment " + deployment_id.encode(), "sha256").hex()


def shown_command(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return a command as a person would type it, secrets masked: those of the environment, of flags such as `--api-key`, and in URLs."""
    words: list[str] = []
    for word in argv:
        flag, equals, _ = word.partition("=")
        secret = bool(words) and words[-1].startswith("-") and _SECRET.search(words[-1])
        words.append(MASK if secret else f"{flag}={MASK}" if equals and _SECRET.search(flag) else re.sub(r"//\S*@", f"//{MASK}@", word))
    given = (f"{name}={MASK if _SECRET.search(name) else shlex.quote(value)}" for name, value in (environment or {}).items())
    return " ".join([*given, *(word if MASK in word else shlex.quote(word) for word in words)])


def _vllm(serving: Serving, command: str) -> list[str]:
    words = [*shlex.split(command), "serve", serving.model, "--host", serving.host, "--port", str(serving.port)]
    words += ["--served-model-name", *serving.names]
    if serving.gpus > 1:
        words += ["--tensor-parallel-size", str(serving.gpus)]
    if serving.adapters:
        words += ["--enable-lora", *_rank(serving), "--lora-modules", *map(_adapter, serving.adapters)]
    if serving.drain_seconds:
        words += ["--shutdown-timeout", str(serving.drain_seconds)]
    return [*words, *serving.extra_args]


def _rank(serving: Serving) -> list[str]:
    """Ask for the rank that the adapters need, unless the caller did."""
    highest = max((adapter.rank or 0 for adapter in serving.adapters), default=0)
    asked = any(word.partition("=")[0] == "--max-lora-rank" for word in serving.extra_args)
    rank = next((each for each in LORA_RANKS if each >= highest), LORA_RANKS[-1])
    return [] if asked or highest <= STOCK_LORA_RANK else ["--max-lora-rank", str(rank)]


def _adapter(adapter: Adapter) -> str:
    """Write it in JSON: in the form `name=path` a `=` in either is an error."""
    return msgspec.json.encode({"name": adapter.name, "path": adapter.path}).decode()


def _other(serving: Serving, command: str) -> list[str]:
    if serving.extra_args or serving.adapters:
        what = "extra_args" if serving.extra_args else "a LoRA adapter"
        message = f"this server deploys by a template of its operator (TUNEYARD_SERVE_COMMAND), which has no place for {what}"
        raise Invalid(message, [Flaw("extra_args" if serving.extra_args else "model_path", message)])
    told: dict[str, str] = dict(
        zip(PLACEHOLDERS, (serving.model, serving.host, str(serving.port), serving.names[0], str(serving.gpus)), strict=True)
    )
    return [_PLACEHOLDER.sub(lambda found: told[found[0]], word) for word in shlex.split(command)]
