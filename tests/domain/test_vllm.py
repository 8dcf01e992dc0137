"""The command of a model server: what it is told, what is shown of it, and what never becomes a flag."""

from typing import Any

import pytest

from domain.deployments.vllm import Adapter, Serving, argv_of, environment_of, key_of, require_command, shown_command
from domain.errors import Invalid


def serving(**facts: Any) -> Serving:
    given: dict[str, Any] = {"model": "/models/qwen2.5", "names": ["qwen2.5"], "host": "127.0.0.1", "port": 8234}
    return Serving(**(given | facts))


def test_the_command_is_vllms_own() -> None:
    argv = argv_of(serving(names=["qwen2.5", "/models/qwen2.5"], gpus=1, extra_args=["--max-num-seqs", "4"], drain_seconds=15))

    assert (
        "vllm serve /models/qwen2.5 --host 127.0.0.1 --port 8234 --served-model-name qwen2.5 /models/qwen2.5 "
        "--shutdown-timeout 15 --max-num-seqs 4" == shown_command(argv)
    )


def test_several_gpus_share_the_model() -> None:
    assert ["--tensor-parallel-size", "4"] == argv_of(serving(gpus=4))[-2:]


def test_vllm_may_lie_anywhere() -> None:
    assert ["/opt/my vllm", "serve", "/models/qwen2.5"] == argv_of(serving(), "'/opt/my vllm'")[:3]
    assert ["python", "-m", "vllm", "serve"] == argv_of(serving(), "python -m vllm")[:4]


def test_adapters_are_served_on_their_base_model_whatever_they_are_called() -> None:
    argv = argv_of(serving(adapters=[Adapter(name="客服", path="/runs/a=b/adapter", rank=48), Adapter(name="b", path="/b")]))

    assert [
        "--enable-lora",
        "--max-lora-rank",
        "64",
        "--lora-modules",
        '{"name":"客服","path":"/runs/a=b/adapter"}',
        '{"name":"b","path":"/b"}',
    ] == argv[10 - 1 :]


def test_a_caller_may_ask_for_a_higher_lora_rank() -> None:
    argv = argv_of(serving(adapters=[Adapter(name="a", path="/a", rank=32)], extra_args=["--max-lora-rank", "256"]))

    assert ["--max-lora-rank", "256"] == argv[-2:]
    assert 1 == argv.count("--max-lora-rank")


@pytest.mark.parametrize("word", ["--trust-remote-code", "-h", "", "a\nb", "a\0"])
def test_neither_model_nor_name_is_taken_for_a_flag(word: str) -> None:
    for strange in (serving(model=word), serving(names=["fine", word]), serving(adapters=[Adapter(name=word, path="/a")])):
        with pytest.raises(Invalid, match="cannot stand in a command line"):
            argv_of(strange)


def test_another_server_is_started_by_a_template() -> None:
    template = "llama-server -m <model>/model.gguf --host <host> --port <port> --alias '<name>' -ngl <gpus>"
    require_command(template)

    assert [
        "llama-server",
        "-m",
        "/m <port>/model.gguf",
        "--host",
        "10.0.0.2",
        "--port",
        "8234",
        "--alias",
        "中 文",
        "-ngl",
        "2",
    ] == argv_of(serving(model="/m <port>", host="10.0.0.2", names=["中 文"], gpus=2), template)


def test_another_server_takes_neither_flags_nor_adapters_of_vllm() -> None:
    for strange, what in (
        (serving(extra_args=["--enforce-eager"]), "extra_args"),
        (serving(adapters=[Adapter(name="a", path="/a")]), "LoRA"),
    ):
        with pytest.raises(Invalid, match=f"no place for .*{what}"):
            argv_of(strange, "other --model <model> --port <port>")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "must begin with a program"),
        ("<model> <port>", "must begin with a program"),
        ("other 'm", "cannot be split"),
        ("other <model>", "lacks <port>"),
        ("other <model> <port> <gpu>", "knows no <gpu>; known are <model>"),
    ],
)
def test_a_template_that_cannot_work_says_why(command: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        require_command(command)


def test_a_key_is_in_the_environment_and_in_nothing_that_is_shown() -> None:
    key = key_of("token", "16b3f6fe")
    environment = environment_of(serving(), key)

    assert key not in " ".join(argv_of(serving()))
    assert {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} == environment
    assert "VLLM_API_KEY=*** VLLM_NO_USAGE_STATS=1" in shown_command(["vllm"], {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1"})


def test_each_deployment_has_a_key_of_its_own_that_api_and_worker_derive_alike() -> None:
    assert key_of("token", "a") == key_of("token", "a")
    assert 3 == len({key_of("token", "a"), key_of("token", "b"), key_of("other", "a")})
    assert 64 == len(key_of("token", "a"))


def test_a_model_of_the_hub_may_be_fetched() -> None:
    assert {"VLLM_NO_USAGE_STATS": "1"} == environment_of(serving(model="Qwen/Qwen3-0.6B"))


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["a", "--api-key", "s3cret", "--port", "1"], "a --api-key *** --port 1"),
        (["a", "--api-key=s3cret"], "a --api-key=***"),
        (["a", "--hf-token", "s3cret"], "a --hf-token ***"),
        (["a", "--url", "http://me:s3cret@host/x"], "a --url http://***@host/x"),
        (["a", "--max-num-batched-tokens", "4096", "it's"], "a --max-num-batched-tokens 4096 'it'\"'\"'s'"),
    ],
)
def test_secrets_of_a_template_are_masked(argv: list[str], shown: str) -> None:
    assert shown == shown_command(argv)
