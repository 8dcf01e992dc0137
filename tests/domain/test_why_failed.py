"""Why a model server ended: lines as vLLM 0.32 printed them on a real machine, or as its source has them."""

import pytest

from domain.deployments.why_failed import why_failed

API, ENGINE = "(APIServer pid=8315) ", "(EngineCore pid=31867) ERROR 11-20 21:32:14 [core.py:1200] "
HEALTHY = [
    "Triton is installed, but doesn't include CPU backend. Disabling Triton.",
    API + "WARNING 11-20 21:49:13 [system_utils.py:255] Found ulimit of 20000 and failed to automatically increase "
    "with error current limit exceeds maximum limit. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`.",
    API + "INFO 11-20 21:49:13 [api_utils.py:286] non-default args: {'model_tag': '/m', 'trust_remote_code=True': 'out of memory'}",
    API + "ERROR 11-20 21:32:35 [serving.py:274] Error with model error=ErrorInfo(message='The model `nope` does not exist. Valid aliases: "
    "tiny.', type='NotFoundError', param='model', code=404)",
    'INFO:     127.0.0.1:44646 - "POST /v1/chat/completions HTTP/1.1" 404 Not Found',
    API + "INFO 11-20 21:33:18 [launcher.py:254] [shutdown] API server: shutdown triggered",
    API + "WARNING 11-20 21:33:18 [utils.py:648] [shutdown] Process manager: force killing remaining processes count=1",
    "/usr/lib/python/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 2 leaked shared_memory objects to clean up",
]


def test_a_healthy_log_shows_no_failure() -> None:
    assert why_failed([]) is None
    assert why_failed(HEALTHY) is None


@pytest.mark.parametrize(
    ("code", "line", "zh", "en"),
    [
        ("port_in_use", "OSError: [Errno 98] Address already in use", "端口", "port"),
        (
            "model_not_found",
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/srv/lab/nope'.",
            "model_path",
            "Check model_path",
        ),
        ("model_not_found", "OSError: /m does not appear to have a file named config.json.", "config.json", "config.json"),
        ("model_not_found", "RuntimeError: Cannot find any model weights with `/m`", "权重", "weights"),
        (
            "out_of_memory",
            ENGINE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has",
            "显存不足",
            "gpu_count",
        ),
        ("out_of_memory", "RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory", "内存", "memory"),
        (
            "gpu_memory_held",
            ENGINE + "ValueError: Free memory on device cuda:0 (2.1/23.5 GiB) on startup is less than desired GPU memory utilization (0.9, "
            "21.15 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
            "其他进程",
            "something else holds it",
        ),
        (
            "context_too_long",
            "ValueError: (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (3.10 GiB).",
            "--max-model-len",
            "--max-model-len",
        ),
        ("unsupported_architecture", "ValueError: Model architectures ['Foo'] are not supported for now.", "架构", "architecture"),
        (
            "unsupported_architecture",
            "The checkpoint you are trying to load has model type `foo` but Transformers does not recognize this architecture.",
            "架构",
            "architecture",
        ),
        (
            "needs_remote_code",
            "ValueError: The repository /m contains custom code which must be executed to correctly load the model.",
            "不执行模型附带的代码",
            "runs no code that comes with a model",
        ),
        ("weights_unreadable", "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge", "损坏", "damaged"),
        (
            "cannot_split",
            "ValueError: Total number of attention heads (14) must be divisible by tensor parallel size (4).",
            "gpu_count",
            "gpu_count",
        ),
        ("no_gpu", "RuntimeError: Failed to infer device type, please set the environment variable", "看不到 GPU", "sees no GPU"),
        ("bad_argument", "vllm: error: unrecognized arguments: --made-up", "extra_args", "extra_args"),
        ("not_installed", "ModuleNotFoundError: No module named 'vllm'", "没有安装", "not installed"),
        ("disk_full", "OSError: [Errno 28] No space left on device", "磁盘", "full"),
        (
            "engine_died",
            API + "ERROR 11-20 21:36:45 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See "
            "stack trace (above) for the root cause.",
            "引擎",
            "engine",
        ),
    ],
)
def test_a_known_failure_is_said_plainly_in_both_languages(code: str, line: str, zh: str, en: str) -> None:
    why = why_failed([*HEALTHY, "Traceback (most recent call last):", line, *HEALTHY])

    assert why is not None
    assert (code, line) == (why.code, why.line)
    assert zh in why.text.zh
    assert en in why.text.en


def test_the_cause_is_said_rather_than_what_it_dragged_along() -> None:
    oom, died = "torch.OutOfMemoryError: CUDA out of memory.", "RuntimeError: Engine core initialization failed. See root cause above."

    for lines in ([oom, died], [died, oom]):
        why = why_failed(lines)
        assert why is not None
        assert "out_of_memory" == why.code
        assert why.lasting


def test_what_may_pass_by_itself_is_worth_a_restart() -> None:
    for line in ("OSError: [Errno 98] Address already in use", "EngineDeadError"):
        why = why_failed([line])
        assert why is not None
        assert not why.lasting


def test_an_unknown_failure_is_not_guessed() -> None:
    assert why_failed([*HEALTHY, "Segmentation fault"]) is None
