"""Why a model server ended, read from its log and said plainly; what is not recognised is not guessed."""

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from domain.processes.sentences import Text

LAST_LINES = 2_000
"""How far back to look: a server that has long been up prints a line per request."""


class Why(Struct, frozen=True, kw_only=True):
    """Why a server ended."""

    code: str
    text: Text
    """What happened and what to do."""
    lasting: bool
    """Whether the very same command would end the same way again: restarting it is of no use."""
    line: str
    """The line of the log that shows it."""


class _Sign(Struct, frozen=True):
    code: str
    seen: re.Pattern[str]
    zh: str
    en: str
    lasting: bool = True


def _sign(code: str, seen: str, zh: str, en: str, *, lasting: bool = True) -> _Sign:
    return _Sign(code, re.compile(seen), zh, en, lasting)


# The cause first, then what it drags along: of several that a log shows, the first here is the one to say.
_SIGNS: Sequence[_Sign] = (
    _sign(
        "port_in_use",
        r"(?:\[Errno (?:98|48)\]|OSError).{0,80}[Aa]ddress already in use",
        "端口已被其他程序占用；平台会换一个端口再试",
        "another program has its port; the platform tries again on another one",
        lasting=False,
    ),
    _sign(
        "gpu_memory_held",
        r"Free memory on device .{0,200} is less than desired GPU memory utilization",
        "启动时 GPU 的空闲显存不足：可能有其他进程占用。请释放该 GPU，或调低 --gpu-memory-utilization",
        "too little of the GPU's memory is free, so something else holds it: free that GPU, or lower --gpu-memory-utilization",
        lasting=False,
    ),
    _sign(
        "context_too_long",
        r"larger than the available KV cache memory|larger than the maximum number of tokens that can be stored in KV cache|"
        r"No available memory for the cache blocks",
        "显存放得下模型，但放不下其上下文的 KV 缓存。请调低 --max-model-len，或调高 --gpu-memory-utilization，或使用更多 GPU",
        "the model fits, but not the KV cache of its context: lower --max-model-len, raise --gpu-memory-utilization, or use more GPUs",
    ),
    _sign(
        "out_of_memory",
        r"out of memory|OutOfMemoryError|[Cc]annot allocate memory|can't allocate memory|std::bad_alloc|^MemoryError",
        "内存或显存不足：模型放不下。请使用更多 GPU（gpu_count）、更小或量化的模型，或调低 --max-model-len、--max-num-seqs",
        "out of memory: the model does not fit. Use more GPUs (gpu_count), a smaller model, or lower --max-model-len, --max-num-seqs",
    ),
    _sign(
        "unsupported_architecture",
        r"Model architectures? .{0,200}(?:(?:is|are) not supported|failed to be inspected)|does not recognize this architecture|"
        r"[Hh]as no vLLM implementation|Unrecognized configuration class|No model architectures are specified",
        "该版本的 vLLM 不支持此模型的架构。请换用受支持的模型，或升级 vLLM",
        "this version of vLLM does not support the model's architecture: use a supported model, or a newer vLLM",
    ),
    _sign(
        "needs_remote_code",
        r"trust_remote_code=True|trust-remote-code|contains custom code which must be executed",
        "此模型自带代码才能运行，平台不执行模型附带的代码。请换用 vLLM 内置支持的模型",
        "this model needs code of its own, and the platform runs no code that comes with a model: use one that vLLM supports by itself",
    ),
    _sign(
        "model_not_found",
        r"HFValidationError|RepositoryNotFoundError|LocalEntryNotFoundError|OfflineModeIsEnabled|GatedRepoError|"
        r"[Ii]nvalid repository ID or local directory|is not a local folder and is not a valid model identifier|"
        r"does not appear to have a file named|Cannot find any model weights|Can't load (?:the )?config(?:uration)? (?:of|for)|"
        r"We couldn't connect to 'https://huggingface\.co'",
        "找不到模型：该主机上没有此目录，或其中缺少 config.json 或权重文件。请检查 model_path",
        "the model was not found: this host has no such folder, or it lacks config.json or the weights. Check model_path",
    ),
    _sign(
        "adapter_unusable",
        r"LoRA rank \d+ is greater than max_lora_rank|LoRAAdapterNotFoundError|No adapter found for|"
        r"is expected to only contain target modules|Loading lora .{0,200} failed",
        "LoRA 适配器无法加载：可能与基础模型不匹配，或 rank 超过 --max-lora-rank",
        "the LoRA adapter cannot be loaded: it does not fit its base model, or its rank is above --max-lora-rank",
    ),
    _sign(
        "weights_unreadable",
        r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|PytorchStreamReader failed|invalid load key",
        "模型权重文件已损坏或不完整。请重新上传或选用另一个检查点",
        "the weights are damaged or incomplete: upload them again, or deploy another checkpoint",
    ),
    _sign(
        "cannot_split",
        r"must be divisible by tensor parallel size|not divisible by .{0,60}(?:tensor|parallel)",
        "模型无法平均拆分到这么多 GPU 上。请调整 gpu_count（通常为 1、2、4、8）",
        "the model cannot be split over so many GPUs: change gpu_count (mostly 1, 2, 4 or 8)",
    ),
    _sign(
        "context_beyond_model",
        r"is greater than the derived max_model_len",
        "--max-model-len 超过了模型支持的上下文长度。请调低它",
        "--max-model-len is more than the model's own context: lower it",
    ),
    _sign(
        "gpu_unsuitable",
        r"only supported on GPUs with compute capability|no kernel image is available|CUDA driver version is insufficient|"
        r"The NVIDIA driver on your system is too old|is not supported for the current GPU",
        "GPU 或驱动不支持所选的数据类型或内核。请尝试 --dtype float16，或升级驱动",
        "the GPU or its driver cannot do what is asked: try --dtype float16, or a newer driver",
    ),
    _sign(
        "no_gpu",
        r"Failed to infer device type|No CUDA GPUs are available|no NVIDIA driver|no CUDA-capable device",
        "服务进程看不到 GPU。请检查该主机的驱动与 vLLM 版本（CPU 主机需 CPU 版 vLLM）",
        "the server sees no GPU: check the host's driver and its vLLM (a host without GPUs needs the build for CPUs)",
    ),
    _sign(
        "bad_argument",
        r"error: (?:unrecognized arguments|argument |ambiguous option|the following arguments)",
        "该版本的 vLLM 不认识其启动参数。请检查 extra_args 与 vLLM 的版本",
        "this version of vLLM does not take these arguments: check extra_args and the version",
    ),
    _sign(
        "not_installed",
        r"No module named '?vllm|vllm: (?:command )?not found|No such file or directory: '[^']*vllm'",
        "该主机上没有安装 vLLM。请安装，或用 TUNEYARD_SERVE_COMMAND 指明其位置",
        "vLLM is not installed on this host: install it, or say where it is by TUNEYARD_SERVE_COMMAND",
    ),
    _sign(
        "disk_full",
        r"No space left on device",
        "磁盘或共享内存（/dev/shm）已满。请清理后重试",
        "a disk, or shared memory (/dev/shm), is full: free some and try again",
        lasting=False,
    ),
    _sign(
        "engine_died",
        r"EngineDeadError|EngineCore (?:encountered an issue|failed)|Engine core initialization failed|Engine process failed to start",
        "推理引擎进程已终止，原因见其日志",
        "the engine process died; its log says why",
        lasting=False,
    ),
)


def why_failed(lines: Iterable[str]) -> Why | None:
    """Return why the server ended that left these lines; None where they do not say."""
    last = [line.strip() for line in lines][-LAST_LINES:]
    for sign in _SIGNS:
        for line in reversed(last):
            if sign.seen.search(line) and not _HARMLESS.search(line):
                return Why(code=sign.code, text=Text(sign.zh, sign.en), lasting=sign.lasting, line=line)
    return None


_HARMLESS = re.compile(r"(?:^|\) )(?:INFO|DEBUG)\b|non-default args|WARNING .{0,60}Found ulimit|\"(?:GET|POST) /")
"""Lines of every healthy start that hold the words of a failure."""
